"""Evaluate the model as it came (see bench.stages.evaluate)."""

from bench.cells import dense_cell
from bench.job import Job
from bench.stages.evaluate import evaluate_dense

with Job(snakemake) as job:  # noqa: F821
    smk = job.snakemake
    evaluate_dense(
        dense_cell(smk.wildcards.model),
        smk.params.config,
        model=smk.input.model,
        checked=smk.input.checked,
        record=smk.output.record,
        samples=smk.output.samples,
    )
