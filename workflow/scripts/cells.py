"""All records in one long table (see bench.collect)."""

from bench.collect import write_cells
from bench.job import Job

with Job(snakemake) as job:  # noqa: F821
    smk = job.snakemake
    write_cells(smk.input.records, smk.output[0])
