"""Check that evaluation and training text are disjoint (see bench.data.disjoint)."""

from pathlib import Path

from bench.config import load_or_exit
from bench.data import Parts, check
from bench.jobs.job import Job
from bench.planning.preflight import check_tasks_or_exit

with Job(snakemake) as job:
    smk = job.snakemake
    check_tasks_or_exit(load_or_exit(smk.config))
    check(
        [Path(folder) for folder in smk.input.data],
        Path(smk.output[0]),
        Parts(**smk.params.parts),
        Path(smk.params.pairs),
        overlap=smk.params.overlap,
    )
