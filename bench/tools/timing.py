"""Where the time of a run went: start-up, loading and computing, a stage (``make timing``)."""

import argparse
from pathlib import Path

import pandas as pd

from bench.config.variants import training_of
from bench.records.measures import STAGES
from bench.records.record import read_records, records_below

COLUMNS = {
    "startup_seconds": "start-up s",
    "loading_seconds": "loading s",
    "seconds": "computing s",
}


def timing_table(records: list[dict]) -> pd.DataFrame:
    """Seconds by stage over all jobs, each job counted once, and the share not spent computing.

    One pruned base serves many cells, and one training two: their costs are in the record of
    each of these cells.
    """
    jobs: dict[tuple, dict] = {}
    for record in records:
        cell = record["cell"]
        base = (cell["model"], cell["pruner"], cell["pattern"])
        for stage in STAGES:
            costs = record["stages"][stage]
            if costs is not None:
                own = () if stage == "prune" else (cell["seed"], *_trained(cell, stage))
                jobs[(stage, *base, *own)] = {"stage": stage, **costs}
    frame = pd.DataFrame(jobs.values(), columns=["stage", *COLUMNS]).rename(columns=COLUMNS)
    stages = frame.groupby("stage")
    table = stages.sum().reindex([stage for stage in STAGES if stage in stages.groups])
    table.insert(0, "jobs", stages.size())
    table.loc["all"] = table.sum()
    seconds = table[[*COLUMNS.values()]].sum(axis=1)
    table["not computing %"] = 100 * (1 - table["computing s"] / seconds)
    return table.astype({"jobs": int})


def _trained(cell: dict, stage: str) -> tuple:
    return cell["budget"], training_of(cell["repair"]) if stage == "repair" else cell["repair"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("results", type=Path, help="folder that holds cells/")
    try:
        records = read_records(records_below(parser.parse_args().results))
        table = timing_table(list(records.values()))
    except ValueError as error:
        parser.exit(1, f"{error}\n")
    print(table.to_string(float_format="{:.1f}".format))
