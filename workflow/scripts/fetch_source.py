"""Fetch what data is read from (see bench.sources)."""

from pathlib import Path

from pydantic import TypeAdapter

from bench.jobs.job import Job
from bench.sources import Source, fetch

with Job(snakemake):
    fetch(TypeAdapter(Source).validate_python(snakemake.params.source), Path(snakemake.output[0]))
