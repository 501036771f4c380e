"""The sweep's trials in one table (see bench.training.tuning)."""

from bench.files import advising, read_json, write_csv
from bench.jobs.job import Job
from bench.training.tuning import tuning_table

with Job(snakemake) as job:
    smk = job.snakemake
    with advising("remove it and run again"):
        trials = [read_json(path) for path in smk.input.trials]
    table = tuning_table(trials)
    write_csv(smk.output[0], table)
    print(table.to_string(index=False))
