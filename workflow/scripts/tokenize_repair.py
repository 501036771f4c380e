"""Pack the blocks that repairs train or are validated on (see bench.data.tokens)."""

from bench.jobs.job import Job
from bench.stages.tokenize import tokenize_repair

with Job(snakemake) as job:
    smk = job.snakemake
    tokenize_repair(
        smk.input.model,
        smk.input.data,
        smk.output[0],
        smk.params.config,
        checked=smk.params.checked,
    )
