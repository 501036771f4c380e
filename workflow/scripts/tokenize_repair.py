"""Pack the blocks that repairs train or are validated on (see bench.data.tokens)."""

from bench.jobs.job import Job
from bench.stages.tokenize import tokenize_repair

with Job(snakemake):
    tokenize_repair(
        snakemake.input.model,
        snakemake.input.data,
        snakemake.output[0],
        snakemake.params.config,
        checked=snakemake.params.checked,
    )
