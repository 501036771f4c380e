"""One trial of the learning-rate sweep (see bench.stages.repair)."""

from bench.cells import Cell
from bench.jobs.job import Job
from bench.stages.repair import try_learning_rate

with Job(snakemake) as job:  # noqa: F821
    smk = job.snakemake
    w = smk.wildcards
    try_learning_rate(
        Cell(w.model, w.pruner, w.pattern, w.repair, seed=0),
        smk.input.model,
        smk.input.base,
        smk.input.blocks,
        smk.input.validation,
        job.optional("calibration"),
        smk.output[0],
        options=smk.params.options,
        training=smk.params.training,
        pruning=smk.params.pruning,
        runtime=smk.params.runtime,
    )
