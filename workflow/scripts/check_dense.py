"""Check the dense model's scores (see bench.stages.dense)."""

from bench.jobs.job import Job
from bench.stages.dense import check_dense

with Job(snakemake):
    check_dense(snakemake.params.band, snakemake.input.record, snakemake.output[0])
