"""Figures of a model, or of one pattern of it (see bench.figures)."""

from pathlib import Path

from bench.figures.draw import write
from bench.figures.results import Results
from bench.jobs.job import Job

with Job(snakemake) as job:  # noqa: F821
    smk = job.snakemake
    results = Results.read(smk.input.scores, smk.input.costs, smk.input.get("histories", []))
    for name in smk.params.figures:
        write(Path(smk.output[0]).parent / name, name, results, *smk.wildcards)
