"""The figures and the page of the grid (see bench.stages.report)."""

from pathlib import Path

from bench.jobs.job import Job
from bench.records.record import read_records
from bench.stages.report import report

with Job(snakemake):
    report(
        read_records(snakemake.input.records),
        snakemake.input.histories,
        snakemake.input.tuning,
        [],
        Path("results"),
        Path(snakemake.output[0]),
    )
