"""One trial of the learning-rate sweep (see bench.stages.repair)."""

from bench.cells import cell_of
from bench.jobs.job import Job
from bench.stages.repair import try_learning_rate
from bench.stages.training_job import TrainingJob

with Job(snakemake) as job:
    trial = TrainingJob(
        cell=cell_of(snakemake.wildcards),
        config=snakemake.params.config,
        model=snakemake.input.model,
        base=snakemake.input.base,
        blocks=snakemake.input.blocks,
        code=snakemake.input.code,
        base_code=snakemake.params.made_by["base"],
        output=snakemake.output[0],
    )
    try_learning_rate(trial, snakemake.input.validation, job.optional("calibration"))
