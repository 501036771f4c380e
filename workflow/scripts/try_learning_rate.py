"""One trial of the learning-rate sweep (see bench.stages.repair)."""

from bench.job import Job
from bench.stages.repair import try_learning_rate

with Job(snakemake) as job:  # noqa: F821
    smk = job.snakemake
    try_learning_rate(
        smk.input.base,
        smk.input.blocks,
        smk.input.validation,
        job.optional("calibration"),
        smk.output[0],
        method=smk.wildcards.repair,
        options=smk.params.options,
        training=smk.params.training,
        pruning=smk.params.pruning,
        runtime=smk.params.runtime,
    )
