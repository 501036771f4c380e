"""The other tables, as CSV, Markdown and LaTeX (see bench.collect)."""

from bench.collect import write_tables
from bench.job import Job

with Job(snakemake) as job:  # noqa: F821
    smk = job.snakemake
    write_tables(smk.input.records, smk.input.scores, smk.input.comparisons, "results")
