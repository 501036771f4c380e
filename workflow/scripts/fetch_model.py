"""Fetch a model as a transformers folder (see bench.sources.models)."""

from pathlib import Path

from bench.config import ModelSpec
from bench.job import Job
from bench.sources import fetch_model

with Job(snakemake) as job:  # noqa: F821
    smk = job.snakemake
    spec = ModelSpec(**smk.params.spec)
    fetch_model(spec.source, Path(smk.output[0]))
