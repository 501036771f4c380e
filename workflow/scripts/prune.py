"""Prune a model (see bench.stages.prune)."""

from bench.cells import UNREPAIRED, Cell
from bench.jobs.job import Job
from bench.stages.prune import prune_base

with Job(snakemake) as job:
    smk = job.snakemake
    w = smk.wildcards
    prune_base(
        Cell(w.model, w.pruner, w.pattern, UNREPAIRED, seed=0),
        smk.params.config,
        model=smk.input.model,
        calibration=job.optional("calibration"),
        code=smk.input.code,
        output=smk.output[0],
        attempt=job.attempt,
    )
