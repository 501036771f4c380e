"""Evaluate the model as it came (see bench.stages.dense)."""

from bench.jobs.job import Job
from bench.stages.dense import evaluate_dense

with Job(snakemake):
    evaluate_dense(
        snakemake.wildcards.model,
        snakemake.params.config,
        data=snakemake.params.data,
        folder=snakemake.input.model,
        checked=snakemake.params.checked,
        record=snakemake.output.record,
        samples=snakemake.output.samples,
    )
