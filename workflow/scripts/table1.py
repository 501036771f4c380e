"""The main table, as CSV and as Markdown with its caption (see bench.tables)."""

from bench.files import whole
from bench.job import Job
from bench.records import read_records
from bench.tables import markdown, table1

with Job(snakemake) as job:  # noqa: F821
    smk = job.snakemake
    records = read_records(smk.input.records)
    table = table1(records)
    with whole(smk.output.csv) as path:
        table.to_csv(path, index=False)
    with whole(smk.output.markdown) as path:
        path.write_text(markdown(table, records), encoding="utf-8")
