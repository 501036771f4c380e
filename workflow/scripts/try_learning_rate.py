"""One trial of the learning-rate sweep (see bench.stages.repair)."""

from bench.jobs.job import Job
from bench.stages.repair import try_learning_rate
from bench.stages.training_job import TrainingJob

with Job(snakemake) as job:
    trial = TrainingJob.of(snakemake)
    try_learning_rate(trial, snakemake.input.validation, job.optional("calibration"))
