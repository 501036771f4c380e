"""Check the dense model's scores (see bench.stages.dense)."""

from bench.jobs.job import Job
from bench.stages.dense import check_dense

with Job(snakemake) as job:
    smk = job.snakemake
    check_dense(smk.wildcards.model, smk.params.band, smk.input.record, smk.output[0])
