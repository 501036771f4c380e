"""The main table, as CSV, Markdown and LaTeX (see bench.stages.collect)."""

from bench.jobs.job import Job
from bench.stages.collect import write_table1

with Job(snakemake) as job:  # noqa: F821
    smk = job.snakemake
    write_table1(smk.input.records, smk.input.scores, smk.output.csv)
