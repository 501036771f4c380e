"""The sweep's trials in one table (see bench.tuning)."""

from bench.files import read_json, write_csv
from bench.job import Job
from bench.tuning import tuning_table

with Job(snakemake) as job:  # noqa: F821
    smk = job.snakemake
    table = tuning_table([read_json(path) for path in smk.input.trials])
    write_csv(smk.output[0], table)
    print(table.to_string(index=False))
