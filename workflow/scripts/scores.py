"""Scores with their intervals, and comparisons of repairs (see bench.collect)."""

from bench.collect import write_statistics
from bench.job import Job

with Job(snakemake) as job:  # noqa: F821
    smk = job.snakemake
    write_statistics(
        smk.input.records, scores=smk.output.scores, comparisons=smk.output.comparisons
    )
