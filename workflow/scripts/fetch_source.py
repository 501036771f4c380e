"""Fetch what data is read from (see bench.sources)."""

from pathlib import Path

from pydantic import TypeAdapter

from bench.jobs.job import Job
from bench.sources import Source, fetch

with Job(snakemake) as job:
    smk = job.snakemake
    fetch(TypeAdapter(Source).validate_python(smk.params.source), Path(smk.output[0]))
