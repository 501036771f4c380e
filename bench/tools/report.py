"""Tables, figures and page of the records that there are: ``python -m bench report results/``.

Nothing is trained or evaluated: of a grid that is half done, what is there is shown.
"""

import argparse
from pathlib import Path

from bench.cells import HISTORY_FILE, Cell, dense_cell, record_path
from bench.config.loading import load_or_exit, read_files
from bench.config.whole import Config
from bench.records.record import read_records, records_below, resolved_config
from bench.records.submissions import joined, submissions_below
from bench.stages.collect import add_submissions, collect, print_submissions
from bench.stages.report import report
from bench.training.tuning import recorded_sweeps


def records_of(config: Config, results: Path) -> tuple[list[Path], int]:
    """The records of a configuration's cells that are below ``results``; how many are not."""
    cells = [*map(dense_cell, config.grid.models), *config.cells()]
    paths = [results / Path(record_path(cell)).relative_to("results") for cell in cells]
    there = [path for path in paths if path.is_file()]
    return there, len(paths) - len(there)


def main() -> None:
    parser = argparse.ArgumentParser(
        description="Make tables, figures and the page from the records that there are; "
        "train and evaluate nothing."
    )
    parser.add_argument("results", type=Path, help="folder that holds cells/")
    parser.add_argument("page", type=Path, nargs="?", default=Path("reports/index.html"))
    parser.add_argument(
        "--configfile",
        type=Path,
        nargs="*",
        help="show the cells of this grid alone, and say how many are missing; "
        "without: all that are there",
    )
    add_submissions(parser)
    given = parser.parse_args()
    missing, others = 0, []
    try:
        records = records_below(given.results)
        if given.configfile is not None:
            config = load_or_exit(read_files(given.configfile))
            records, missing = records_of(config, given.results)
        if not records:
            raise ValueError(f"{given.results}: no record of a cell of this configuration")
        ours = read_records(records)
        if given.configfile is not None:
            found = {path: Cell(**record["cell"]) for path, record in ours.items()}
            asked = {path: resolved_config(config, cell)["hash"] for path, cell in found.items()}
            others = [path for path in ours if ours[path]["config"]["hash"] != asked[path]]
        found, sent = joined(ours, submissions_below(given.submissions, beside=given.results))
        collect(found, given.results)
        histories = [path.with_name(HISTORY_FILE) for path in records]
        report(
            found,
            [path for path in histories if path.is_file()],
            recorded_sweeps(),
            sent,
            given.results,
            given.page,
        )
    except (OSError, ValueError) as error:
        parser.exit(1, f"{error}\n")
    print(f"{given.page} is built; tables and figures are in {given.results}/")
    print_submissions(sent)
    if others:
        print(
            f"{len(others)} of {len(records)} records were made with other settings than the "
            f"configuration has now, {others[0]} first"
        )
    if missing:
        print(f"{missing} of {missing + len(records)} cells of the configuration are not there yet")
