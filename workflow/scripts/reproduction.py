"""Published numbers beside measured ones (see bench.collect)."""

from bench.collect import write_reproduction
from bench.job import Job

with Job(snakemake) as job:  # noqa: F821
    smk = job.snakemake
    write_reproduction(smk.input.records, smk.input.references, smk.output[0])
