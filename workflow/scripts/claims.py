"""The verdicts on the claims (see bench.collect)."""

from bench.collect import write_claims
from bench.job import Job

with Job(snakemake) as job:  # noqa: F821
    smk = job.snakemake
    write_claims(
        smk.input.records,
        smk.input.claims[0],
        claims=smk.output.claims,
        detail=smk.output.detail,
    )
