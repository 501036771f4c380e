"""Check the dense model's scores (see bench.stages.dense)."""

from bench.job import Job
from bench.stages.dense import check_dense

with Job(snakemake) as job:  # noqa: F821
    smk = job.snakemake
    check_dense(smk.input.record, smk.params.band, smk.output[0])
