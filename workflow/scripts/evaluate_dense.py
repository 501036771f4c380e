"""Evaluate the model as it came (see bench.stages.dense)."""

from bench.cells import dense_cell
from bench.jobs.job import Job
from bench.stages.dense import evaluate_dense
from bench.stages.evaluate import EvaluationJob

with Job(snakemake):
    cell, model = dense_cell(snakemake.wildcards.model), snakemake.input.model
    job = EvaluationJob(cell=cell, model=model, **snakemake.params, **snakemake.output)
    evaluate_dense(job)
