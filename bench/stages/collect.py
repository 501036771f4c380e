"""All tables, made of records: ``python -m bench collect results/``.

The workflow makes them when all records of its grid are there. The command makes them from
whatever records there are: of a grid that is half done, or that come from elsewhere.
"""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path

from bench.claims.comparisons import Grid
from bench.claims.spec import CLAIMS_FILE, load_claims
from bench.claims.verdicts import claims_tables
from bench.files import UnreadableError, read_table, write_csv
from bench.records.comparable import differences
from bench.records.profiles import PROFILE, read_profile
from bench.records.record import HERE, ORIGIN, read_records, records_below
from bench.records.submissions import SUBMISSIONS, Sent, joined, submissions_below
from bench.statistics.comparisons import Tasks, comparisons_table
from bench.statistics.items import Row, read_items
from bench.statistics.scores import scores_table
from bench.tables.paper import (
    ablations,
    ablations_sheet,
    across_sheet,
    table2,
    table3,
    table4,
    table4_sheet,
)
from bench.tables.rendering import write_table
from bench.tables.reproduction import read_references, reference_files, reproduction_table
from bench.tables.table1 import cells_table, table1, table1_sheet


def write_statistics(records: list[dict], items: dict[Row, Tasks], folder: Path) -> None:
    """``scores.csv`` and ``comparisons.csv``."""
    compared = comparisons_table(records, items)
    write_csv(folder / "comparisons.csv", compared)
    write_csv(folder / "scores.csv", scores_table(records, items, compared))


def write_tables(records: list[dict], folder: Path) -> None:
    """The tables that are there to read, too, made of the statistics in their folder."""
    scores, comparisons = (read_table(folder / f"{name}.csv") for name in ("scores", "comparisons"))
    table = table1(records, scores)
    write_table(table, table1_sheet(table, scores, records), folder / "table1.csv")
    for name, make in {"table2": table2, "table3": table3}.items():
        table = make(scores)
        write_table(table, across_sheet(table, scores, records), folder / f"{name}.csv")
    table = table4(records)
    write_table(table, table4_sheet(table), folder / "table4.csv")
    table = ablations(comparisons, records)
    write_table(table, ablations_sheet(table), folder / "ablations.csv")


def collect(records: Mapping[str, dict], folder: Path) -> None:
    """Make all of :data:`bench.tables.TABLES` in a folder.

    Claims are judged, and published numbers reproduced, by what was run here alone; claims about
    profiled costs by ``profile.csv`` in the folder, if it is there.

    Raises:
        ValueError: a file that is read here is not as it should be, or what would be compared is
            not comparable.
    """
    for name, reason in differences(records):
        raise UnreadableError(name, f"{reason}; a table takes one of them")
    found, items = list(records.values()), read_items(records)
    write_csv(folder / "cells.csv", cells_table(found))
    write_statistics(found, items, folder)
    write_tables(found, folder)
    ours = [record for record in found if record[ORIGIN] == HERE]
    profile = read_profile(folder / PROFILE) if (folder / PROFILE).is_file() else None
    summary, detail = claims_tables(load_claims(CLAIMS_FILE), Grid(ours, items, profile))
    write_csv(folder / "claims_detail.csv", detail)
    write_csv(folder / "claims.csv", summary)
    reproduced = reproduction_table(read_references(reference_files()), ours)
    write_csv(folder / "reproduction.csv", reproduced)


def add_submissions(parser: argparse.ArgumentParser) -> None:
    """The argument that says where submissions lie."""
    parser.add_argument(
        "--submissions",
        type=Path,
        default=SUBMISSIONS,
        help="folder of submissions; those that may be compared are in the tables [%(default)s]",
    )


def print_submissions(sent: Sequence[Sent]) -> None:
    """Say of each submission what became of it."""
    for one in sent:
        apart = f"not in these tables: {one.apart}" if one.apart else f"{one.records} records"
        print(f"{one.name}: {apart} ({one.state})")


def main() -> None:
    parser = argparse.ArgumentParser(description="Make all tables from the records that there are.")
    parser.add_argument("results", type=Path, help="folder that holds cells/")
    add_submissions(parser)
    given = parser.parse_args()
    try:
        ours = read_records(records_below(given.results))
        records, sent = joined(ours, submissions_below(given.submissions, beside=given.results))
        collect(records, given.results)
    except (OSError, ValueError) as error:
        parser.exit(1, f"{error}\n")
    print(f"{given.results}/table1.csv and the files beside it are made")
    print_submissions(sent)
