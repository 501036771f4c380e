"""Read a data set and split it (see bench.data.prepare)."""

from pathlib import Path

from bench.data.prepare import DataSpec, prepare
from bench.jobs.job import Job

with Job(snakemake):
    spec = DataSpec(**snakemake.params.spec)
    prepare(
        snakemake.wildcards.data,
        spec,
        Path(snakemake.input.source),
        Path(snakemake.output[0]),
        asked=snakemake.params.source,
    )
