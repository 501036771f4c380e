"""Merge a repair and evaluate it (see bench.stages.evaluate)."""

from bench.cells import Cell
from bench.jobs.job import Job
from bench.stages.evaluate import evaluate_cell

with Job(snakemake) as job:  # noqa: F821
    smk = job.snakemake
    w = smk.wildcards
    evaluate_cell(
        Cell(w.model, w.pruner, w.pattern, w.repair, int(w.seed)),
        smk.params.config,
        model=smk.input.model,
        base=smk.input.base,
        trained=job.optional("trained"),
        calibration=job.optional("calibration"),
        checked=smk.params.checked,
        record=smk.output.record,
        samples=smk.output.samples,
        history=smk.output.history,
        attempt=job.attempt,
    )
