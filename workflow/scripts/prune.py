"""Prune a model (see bench.stages.prune)."""

from bench.jobs.job import Job
from bench.stages.prune import prune_base

with Job(snakemake) as job:  # noqa: F821
    smk = job.snakemake
    prune_base(
        smk.input.model,
        job.optional("calibration"),
        smk.output[0],
        pruner=smk.wildcards.pruner,
        pattern=smk.wildcards.pattern,
        options=smk.params.options,
        runtime=smk.params.runtime,
        attempt=job.attempt,
    )
