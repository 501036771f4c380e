"""Fetch the data of a task of lm-eval's own (see bench.evaluation.own)."""

from pathlib import Path

from bench.config.loading import load_or_exit
from bench.evaluation.harness import own_facts
from bench.evaluation.own import LmEvalSource
from bench.evaluation.tasks import FACTS
from bench.files import write_json
from bench.jobs.job import Job
from bench.planning.preflight import exit_on, task_problems
from bench.sources import fetch

with Job(snakemake):
    task, folder = snakemake.wildcards.task, Path(snakemake.output[0])
    fetch(LmEvalSource(task=task, revision=snakemake.params.revision), folder)
    write_json(folder / FACTS, own_facts(task, folder))
    exit_on(task_problems(load_or_exit(snakemake.config)))
