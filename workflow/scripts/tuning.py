"""The sweep's trials in one table (see bench.training.tuning)."""

from bench.files import advising, read_json, write_csv
from bench.jobs.job import Job
from bench.training.tuning import tuning_table

with Job(snakemake):
    with advising("remove it and run again"):
        trials = [read_json(path) for path in snakemake.input.trials]
    table = tuning_table(trials)
    write_csv(snakemake.output[0], table)
    print(table.to_string(index=False))
