"""Check that evaluation and training text are disjoint (see bench.data.prepare)."""

from pathlib import Path

from bench.data import check
from bench.jobs.job import Job

with Job(snakemake) as job:  # noqa: F821
    smk = job.snakemake
    check([Path(folder) for folder in smk.input.data], Path(smk.output[0]))
