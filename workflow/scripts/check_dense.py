"""Check the dense model's scores (see bench.stages.dense)."""

from bench.config import load_or_exit
from bench.jobs.job import Job
from bench.stages.dense import check_dense

with Job(snakemake) as job:  # noqa: F821
    smk = job.snakemake
    check_dense(
        load_or_exit(smk.config),
        smk.wildcards.model,
        folder=smk.input.model,
        checked=smk.input.checked,
        record=smk.output.record,
        samples=smk.output.samples,
    )
