"""Check that evaluation and training text are disjoint (see bench.data.disjoint)."""

from pathlib import Path

from bench.config.loading import load_or_exit
from bench.data.disjoint import Parts, check
from bench.jobs.job import Job
from bench.planning.preflight import exit_on, task_problems

with Job(snakemake):
    exit_on(task_problems(load_or_exit(snakemake.config)))
    check(
        [Path(folder) for folder in snakemake.input.data],
        Path(snakemake.output[0]),
        Parts(**snakemake.params.parts),
        Path(snakemake.params.pairs),
        overlap=snakemake.params.overlap,
    )
