"""Read a data set and split it (see bench.data.prepare)."""

from pathlib import Path

from bench.data import DataSpec, prepare
from bench.jobs.job import Job

with Job(snakemake) as job:
    smk = job.snakemake
    spec = DataSpec(**smk.params.spec)
    prepare(
        smk.wildcards.data,
        spec,
        Path(smk.input.source),
        Path(smk.output[0]),
        asked=smk.params.source,
    )
