"""Train a repair (see bench.stages.repair)."""

from bench.jobs.job import Job
from bench.stages.repair import train_repair
from bench.stages.training_job import TrainingJob

with Job(snakemake) as job:
    training = TrainingJob.of(snakemake)
    train_repair(training, job.attempt, snakemake.resources.processes)
