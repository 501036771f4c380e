"""Fetch the data of a task of lm-eval's own (see bench.evaluation.own)."""

from pathlib import Path

from bench.evaluation.own import LmEvalSource
from bench.jobs.job import Job
from bench.sources import fetch

with Job(snakemake) as job:  # noqa: F821
    smk = job.snakemake
    source = LmEvalSource(task=smk.wildcards.task, revision=smk.params.revision)
    fetch(source, Path(smk.output[0]))
