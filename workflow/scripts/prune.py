"""Prune a model (see bench.stages.prune)."""

from bench.cells import UNREPAIRED, Cell
from bench.jobs.job import Job
from bench.stages.prune import prune_base

with Job(snakemake) as job:
    prune_base(
        Cell(**snakemake.wildcards, repair=UNREPAIRED, seed=0),
        snakemake.params.config,
        model=snakemake.input.model,
        calibration=job.optional("calibration"),
        code=snakemake.input.code,
        output=snakemake.output[0],
        attempt=job.attempt,
    )
