"""Check that evaluation and training text are disjoint (see bench.data.disjoint)."""

from pathlib import Path

from bench.data import Parts, check
from bench.jobs.job import Job

with Job(snakemake) as job:  # noqa: F821
    smk = job.snakemake
    check(
        [Path(folder) for folder in smk.input.data],
        Path(smk.output[0]),
        Parts(**smk.params.parts),
        Path(smk.params.pairs),
        overlap=smk.params.overlap,
    )
