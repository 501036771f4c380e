"""The leaderboard's page (see bench.report)."""

from bench.files import whole
from bench.jobs.job import Job
from bench.report import Sources, build_page

with Job(snakemake) as job:  # noqa: F821
    smk = job.snakemake
    named = dict(smk.input.items())
    del named["code"]
    page = build_page(Sources.read(**named))
    with whole(smk.output[0]) as path:
        path.write_text(page, encoding="utf-8")
