"""Train a repair (see bench.stages.repair)."""

from bench.cells import cell_of
from bench.jobs.job import Job
from bench.stages.repair import train_repair
from bench.stages.training_job import TrainingJob

with Job(snakemake) as job:
    smk = job.snakemake
    training = TrainingJob(
        cell=cell_of(smk.wildcards),
        config=smk.params.config,
        model=smk.input.model,
        base=smk.input.base,
        blocks=smk.input.blocks,
        code=smk.input.code,
        base_code=smk.params.made_by["base"],
        output=smk.output[0],
        checkpoint_minutes=smk.resources.checkpoint_minutes,
    )
    train_repair(training, job.attempt, smk.resources.processes)
