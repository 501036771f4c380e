"""The main table, as CSV, Markdown and LaTeX (see bench.collect)."""

from bench.collect import write_table1
from bench.job import Job

with Job(snakemake) as job:  # noqa: F821
    smk = job.snakemake
    write_table1(smk.input.records, smk.input.scores, smk.output.csv)
