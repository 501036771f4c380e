"""All records in one long table (see bench.tables)."""

from bench.files import whole
from bench.job import Job
from bench.records import read_records
from bench.tables import cells_table

with Job(snakemake) as job:  # noqa: F821
    smk = job.snakemake
    with whole(smk.output[0]) as path:
        cells_table(read_records(smk.input.records)).to_csv(path, index=False)
