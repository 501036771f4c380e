"""All records in one long table (see bench.stages.collect)."""

from bench.jobs.job import Job
from bench.stages.collect import write_cells

with Job(snakemake) as job:  # noqa: F821
    smk = job.snakemake
    write_cells(smk.input.records, smk.output[0])
