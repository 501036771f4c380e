"""Train a repair (see bench.stages.repair)."""

from bench.cells import cell_of
from bench.jobs.job import Job
from bench.stages.repair import train_repair
from bench.stages.training_job import TrainingJob

with Job(snakemake) as job:
    training = TrainingJob(
        cell=cell_of(snakemake.wildcards),
        config=snakemake.params.config,
        model=snakemake.input.model,
        base=snakemake.input.base,
        blocks=snakemake.input.blocks,
        code=snakemake.input.code,
        base_code=snakemake.params.made_by["base"],
        output=snakemake.output[0],
        checkpoint_minutes=snakemake.resources.checkpoint_minutes,
    )
    train_repair(training, job.attempt, snakemake.resources.processes)
