"""Draw the pruners' calibration sequences (see bench.data.tokens)."""

from bench.jobs.job import Job
from bench.stages.tokenize import tokenize_calibration

with Job(snakemake) as job:
    smk = job.snakemake
    tokenize_calibration(
        smk.input.model,
        smk.input.data,
        smk.output[0],
        smk.params.config,
        checked=smk.params.checked,
    )
