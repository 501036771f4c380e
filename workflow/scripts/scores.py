"""Scores with their intervals, and comparisons of repairs (see bench.stages.collect)."""

from bench.jobs.job import Job
from bench.stages.collect import write_statistics

with Job(snakemake) as job:  # noqa: F821
    smk = job.snakemake
    write_statistics(
        smk.input.records, scores=smk.output.scores, comparisons=smk.output.comparisons
    )
