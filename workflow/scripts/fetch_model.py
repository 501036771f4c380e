"""Fetch a model as a transformers folder (see bench.sources.models)."""

from pathlib import Path

from pydantic import TypeAdapter

from bench.jobs.job import Job
from bench.sources import Source, fetch_model

with Job(snakemake):
    fetch_model(
        TypeAdapter(Source).validate_python(snakemake.params.source), Path(snakemake.output[0])
    )
