"""The verdicts on the claims (see bench.stages.collect)."""

from bench.jobs.job import Job
from bench.stages.collect import write_claims

with Job(snakemake) as job:  # noqa: F821
    smk = job.snakemake
    write_claims(
        smk.input.records,
        smk.input.claims[0],
        claims=smk.output.claims,
        detail=smk.output.detail,
    )
