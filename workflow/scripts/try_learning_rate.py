"""One trial of the learning-rate sweep (see bench.stages.repair)."""

from bench.cells import cell_of
from bench.jobs.job import Job
from bench.stages.repair import try_learning_rate
from bench.stages.training_job import TrainingJob

with Job(snakemake) as job:
    smk = job.snakemake
    trial = TrainingJob(
        cell=cell_of(smk.wildcards),
        config=smk.params.config,
        model=smk.input.model,
        base=smk.input.base,
        blocks=smk.input.blocks,
        code=smk.input.code,
        base_code=smk.params.made_by["base"],
        output=smk.output[0],
    )
    try_learning_rate(trial, smk.input.validation, job.optional("calibration"))
