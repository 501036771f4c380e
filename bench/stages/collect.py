"""All tables, made of records: ``python -m bench collect results/``.

The workflow makes them when all records of its grid are there. The command makes them from
whatever records there are: of a grid that is half done, or that come from elsewhere.
"""

import argparse
from collections.abc import Iterable, Sequence
from pathlib import Path

import pandas as pd

from bench.claims.comparisons import Grid
from bench.claims.spec import CLAIMS_FILE, load_claims
from bench.claims.verdicts import claims_tables
from bench.files import UnreadableError, write_csv
from bench.records.comparable import differences
from bench.records.record import read_records
from bench.statistics.comparisons import comparisons_table
from bench.statistics.items import read_items
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

Paths = Sequence[str | Path]


def write_cells(records: Paths, csv: str | Path) -> None:
    """``cells.csv``."""
    write_csv(csv, cells_table(read_records(records)))


def write_statistics(records: Paths, *, scores: str | Path, comparisons: str | Path) -> None:
    """``scores.csv`` and ``comparisons.csv``."""
    found, items = read_records(records), read_items(records)
    compared = comparisons_table(found, items)
    write_csv(comparisons, compared)
    write_csv(scores, scores_table(found, items, compared))


def write_table1(records: Paths, scores: str | Path, csv: str | Path) -> None:
    """``table1.csv``, and beside it Markdown and LaTeX."""
    found, scored = read_records(records), pd.read_csv(scores)
    table = table1(found, scored)
    write_table(table, table1_sheet(table, scored, found), csv)


def write_tables(
    records: Paths, scores: str | Path, comparisons: str | Path, folder: str | Path
) -> None:
    """``table2.csv``, ``table3.csv``, ``table4.csv``, ``ablations.csv``, and each to read."""
    found, scored, folder = read_records(records), pd.read_csv(scores), Path(folder)
    for name, make in {"table2": table2, "table3": table3}.items():
        table = make(scored)
        write_table(table, across_sheet(table, scored, found), folder / f"{name}.csv")
    costs, changes = table4(found), ablations(pd.read_csv(comparisons), found)
    write_table(costs, table4_sheet(costs), folder / "table4.csv")
    write_table(changes, ablations_sheet(changes), folder / "ablations.csv")


def write_claims(
    records: Paths, file: str | Path, *, claims: str | Path, detail: str | Path
) -> None:
    """``claims.csv`` and ``claims_detail.csv``."""
    grid = Grid(read_records(records), read_items(records))
    summary, compared = claims_tables(load_claims(file), grid)
    write_csv(detail, compared)
    write_csv(claims, summary)


def write_reproduction(records: Paths, references: Iterable[Path], csv: str | Path) -> None:
    """``reproduction.csv``."""
    write_csv(csv, reproduction_table(read_references(references), read_records(records)))


def collect(records: Paths, folder: Path) -> None:
    """Make all of :data:`bench.tables.TABLES` in a folder.

    Raises:
        ValueError: a file that is read here is not as it should be, or what would be compared is
            not comparable.
    """
    found = dict(zip(map(str, records), read_records(records), strict=True))
    for name, reason in differences(found):
        raise UnreadableError(name, f"{reason}; a table takes one of them")
    scores, comparisons = folder / "scores.csv", folder / "comparisons.csv"
    write_cells(records, folder / "cells.csv")
    write_statistics(records, scores=scores, comparisons=comparisons)
    write_table1(records, scores, folder / "table1.csv")
    write_tables(records, scores, comparisons, folder)
    write_claims(
        records,
        CLAIMS_FILE,
        claims=folder / "claims.csv",
        detail=folder / "claims_detail.csv",
    )
    write_reproduction(records, reference_files(), folder / "reproduction.csv")


def records_below(results: Path) -> list[Path]:
    """The records of a folder ``results``.

    Raises:
        ValueError: there are none.
    """
    records = sorted(results.glob("cells/**/record.json"))
    if not records:
        raise ValueError(f"{results}: no records; allowed: a folder with cells/.../record.json")
    return records


def main() -> None:
    parser = argparse.ArgumentParser(description="Make all tables from the records that there are.")
    parser.add_argument("results", type=Path, help="folder that holds cells/")
    results = parser.parse_args().results
    try:
        collect(records_below(results), results)
    except (OSError, ValueError) as error:
        parser.exit(1, f"{error}\n")
    print(f"{results}/table1.csv and the files beside it are made")
