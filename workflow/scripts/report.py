"""The figures and the page of the grid (see bench.stages.report)."""

from pathlib import Path

from bench.jobs.job import Job
from bench.stages.report import report

with Job(snakemake) as job:
    smk = job.snakemake
    report(
        smk.input.records,
        smk.input.histories,
        smk.input.tuning,
        Path("results"),
        Path(smk.output[0]),
    )
