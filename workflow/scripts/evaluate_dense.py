"""Evaluate the model as it came (see bench.stages.dense)."""

from bench.jobs.job import Job
from bench.stages.dense import evaluate_dense

with Job(snakemake):
    evaluate_dense(
        snakemake.wildcards.model,
        folder=snakemake.input.model,
        **snakemake.params,
        **snakemake.output,
    )
