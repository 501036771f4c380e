"""Merge a repair and evaluate it (see bench.stages.evaluate)."""

from bench.cells import cell_of
from bench.jobs.job import Job
from bench.stages.evaluate import EvaluationJob, evaluate_cell

with Job(snakemake) as job:
    evaluation = EvaluationJob(
        cell=cell_of(snakemake.wildcards),
        config=snakemake.params.config,
        data=snakemake.params.data,
        model=snakemake.input.model,
        base=snakemake.input.base,
        trained=job.optional("trained"),
        calibration=job.optional("calibration"),
        code=snakemake.params.made_by,
        checked=snakemake.params.checked,
        record=snakemake.output.record,
        samples=snakemake.output.samples,
        history=snakemake.output.history,
    )
    evaluate_cell(evaluation, job.attempt)
