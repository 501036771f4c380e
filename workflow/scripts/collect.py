"""All tables, made of the records of the grid (see bench.stages.collect)."""

from pathlib import Path

from bench.jobs.job import Job
from bench.stages.collect import collect

with Job(snakemake) as job:
    smk = job.snakemake
    collect(smk.input.records, Path(smk.output[0]).parent)
