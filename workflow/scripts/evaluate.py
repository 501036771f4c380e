"""Merge a repair and evaluate it (see bench.stages.evaluate)."""

from bench.cells import cell_of
from bench.jobs.job import Job
from bench.stages.evaluate import EvaluationJob, evaluate_cell

with Job(snakemake) as job:
    evaluation = EvaluationJob(
        cell=cell_of(snakemake.wildcards),
        config=snakemake.params.config,
        data=snakemake.params.data,
        code=snakemake.params.made_by,
        checked=snakemake.params.checked,
        **{name: job.optional(name) for name in ("model", "base", "trained", "calibration")},
        **snakemake.output,
    )
    evaluate_cell(evaluation, job.attempt)
