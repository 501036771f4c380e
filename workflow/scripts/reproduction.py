"""Published numbers beside measured ones (see bench.stages.collect)."""

from bench.jobs.job import Job
from bench.stages.collect import write_reproduction

with Job(snakemake) as job:  # noqa: F821
    smk = job.snakemake
    write_reproduction(smk.input.records, smk.input.references, smk.output[0])
