"""Merge a repair and evaluate it (see bench.stages.evaluate)."""

from bench.cells import cell_of
from bench.jobs.job import Job
from bench.stages.evaluate import EvaluationJob, evaluate_cell

with Job(snakemake) as job:
    smk = job.snakemake
    evaluation = EvaluationJob(
        cell=cell_of(smk.wildcards),
        config=smk.params.config,
        data=smk.params.data,
        model=smk.input.model,
        base=smk.input.base,
        trained=job.optional("trained"),
        calibration=job.optional("calibration"),
        code=smk.params.made_by,
        checked=smk.params.checked,
        record=smk.output.record,
        samples=smk.output.samples,
        history=smk.output.history,
    )
    evaluate_cell(evaluation, job.attempt)
