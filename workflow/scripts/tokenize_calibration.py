"""Draw the pruners' calibration sequences (see bench.data.tokens)."""

from bench.jobs.job import Job
from bench.stages.tokenize import tokenize_calibration

with Job(snakemake):
    tokenize_calibration(
        snakemake.input.model,
        snakemake.input.data,
        snakemake.output[0],
        snakemake.params.config,
        checked=snakemake.params.checked,
    )
