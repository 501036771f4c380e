"""Scores with their intervals, and comparisons of repairs (see bench.statistics)."""

from bench.files import whole
from bench.job import Job
from bench.records import read_records
from bench.statistics.comparisons import comparisons_table
from bench.statistics.items import read_items
from bench.statistics.scores import scores_table

with Job(snakemake) as job:  # noqa: F821
    smk = job.snakemake
    records, items = read_records(smk.input.records), read_items(smk.input.records)
    comparisons = comparisons_table(records, items)
    with whole(smk.output.comparisons) as path:
        comparisons.to_csv(path, index=False)
    with whole(smk.output.scores) as path:
        scores_table(records, items, comparisons).to_csv(path, index=False)
