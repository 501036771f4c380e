"""All tables, made of the records of the grid (see bench.stages.collect)."""

from pathlib import Path

from bench.jobs.job import Job
from bench.records.record import read_records
from bench.stages.collect import collect

with Job(snakemake):
    collect(read_records(snakemake.input.records), Path(snakemake.output[0]).parent)
