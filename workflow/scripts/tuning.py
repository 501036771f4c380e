"""The sweep's trials in one table (see bench.stages.tuning)."""

from bench.files import write_csv
from bench.jobs.job import Job
from bench.stages.tuning import read_trials
from bench.training.tuning import tuning_table

with Job(snakemake):
    asked = dict(zip(snakemake.input.trials, snakemake.params.asked, strict=True))
    table = tuning_table(read_trials(asked))
    write_csv(snakemake.output[0], table)
    print(table.to_string(index=False))
