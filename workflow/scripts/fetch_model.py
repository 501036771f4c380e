"""Fetch a model as a transformers folder (see bench.sources.models)."""

from pathlib import Path

from pydantic import TypeAdapter

from bench.jobs.job import Job
from bench.sources import Source, fetch_model

with Job(snakemake) as job:
    smk = job.snakemake
    fetch_model(TypeAdapter(Source).validate_python(smk.params.source), Path(smk.output[0]))
