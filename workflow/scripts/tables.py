"""The other tables, as CSV, Markdown and LaTeX (see bench.stages.collect)."""

from bench.jobs.job import Job
from bench.stages.collect import write_tables

with Job(snakemake) as job:  # noqa: F821
    smk = job.snakemake
    write_tables(smk.input.records, smk.input.scores, smk.input.comparisons, "results")
