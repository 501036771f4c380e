"""Train a repair (see bench.stages.repair)."""

from bench.cells import Cell
from bench.jobs.job import Job
from bench.stages.repair import train_repair
from bench.stages.training_job import TrainingJob

with Job(snakemake) as job:
    smk = job.snakemake
    w = smk.wildcards
    training = TrainingJob(
        cell=Cell(w.model, w.pruner, w.pattern, w.repair, int(w.seed)),
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
