"""Evaluate the model as it came (see bench.stages.dense)."""

from bench.jobs.job import Job
from bench.stages.dense import evaluate_dense

with Job(snakemake) as job:  # noqa: F821
    smk = job.snakemake
    evaluate_dense(
        smk.wildcards.model,
        smk.params.config,
        folder=smk.input.model,
        checked=smk.input.checked,
        record=smk.output.record,
        samples=smk.output.samples,
        inputs=[smk.input.model, smk.input.checked, *smk.input.data, *smk.input.code],
        scored=smk.input.scored,
        scored_samples=smk.input.scored_samples,
    )
