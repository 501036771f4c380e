"""Prune a model (see bench.stages.prune)."""

from bench.cells import UNREPAIRED, Cell
from bench.jobs.job import Job
from bench.stages.prune import prune_base

with Job(snakemake) as job:
    w = snakemake.wildcards
    prune_base(
        Cell(w.model, w.pruner, w.pattern, UNREPAIRED, seed=0),
        snakemake.params.config,
        model=snakemake.input.model,
        calibration=job.optional("calibration"),
        code=snakemake.input.code,
        output=snakemake.output[0],
        attempt=job.attempt,
    )
