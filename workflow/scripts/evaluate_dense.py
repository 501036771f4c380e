"""Evaluate the model as it came (see bench.stages.dense)."""

from bench.jobs.job import Job
from bench.stages.dense import evaluate_dense

with Job(snakemake) as job:
    smk = job.snakemake
    evaluate_dense(
        smk.wildcards.model,
        smk.params.config,
        data=smk.params.data,
        folder=smk.input.model,
        checked=smk.params.checked,
        record=smk.output.record,
        samples=smk.output.samples,
    )
