"""Train a repair (see bench.stages.repair)."""

from bench.jobs.job import Job
from bench.jobs.listings import listed_code
from bench.paths import ROOT
from bench.stages.repair import train_repair

with Job(snakemake) as job:  # noqa: F821
    smk = job.snakemake
    train_repair(
        smk.input.model,
        smk.input.base,
        smk.input.blocks,
        smk.output[0],
        method=smk.wildcards.repair,
        pattern=smk.wildcards.pattern,
        options=smk.params.options,
        training=smk.params.training,
        seed=int(smk.wildcards.seed),
        runtime=smk.params.runtime,
        code=listed_code(smk.input.code, ROOT),
        checkpoint_minutes=smk.resources.checkpoint_minutes,
        attempt=job.attempt,
        processes=smk.resources.processes,
    )
