"""The figures and the page of whatever records there are: ``python -m bench report results/``.

The workflow makes them when all records of its grid are there.
"""

import argparse
from itertools import product
from pathlib import Path

from tqdm import tqdm

from bench.config import project_root
from bench.figures import OF_MODEL, OF_PATTERN
from bench.figures.draw import write
from bench.figures.results import Results
from bench.files import whole
from bench.report import Sources, build_page
from bench.stages.collect import collect, records_below


def draw_figures(results: Results, folder: Path) -> list[Path]:
    """Draw all figures of these results into a folder; their paths as SVG."""
    wanted = []
    for model in results.costs["model"].unique():
        patterns = results.of(model).patterns
        wanted += [((model,), name) for name in OF_MODEL]
        wanted += [((model, pattern), name) for pattern, name in product(patterns, OF_PATTERN)]
    drawn = []
    for where, name in tqdm(wanted, desc="figures", leave=False):
        stem = folder.joinpath(*where, name)
        write(stem, name, results, *where)
        drawn.append(stem.with_suffix(".svg"))
    return drawn


def report(results: Path, page: Path) -> None:
    """Make tables, figures and the page from the records below ``results/cells``.

    Raises:
        ValueError: there are none, or a file that is read here is not as it should be.
    """
    records = records_below(results)
    collect(records, results)
    scores, table1 = results / "scores.csv", results / "table1.csv"
    histories = sorted(results.glob("cells/**/history.json.gz"))
    drawn = draw_figures(Results.read(scores, table1, histories), results / "figures")
    sources = Sources.read(
        records=records,
        histories=histories,
        scores=scores,
        table1=table1,
        comparisons=results / "comparisons.csv",
        claims=results / "claims.csv",
        reproduction=results / "reproduction.csv",
        tuning=sorted((project_root() / "config/tuning").glob("*.csv")),
        figures=drawn,
    )
    with whole(page) as path:
        path.write_text(build_page(sources), encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(
        description="Make tables, figures and the page from the records that there are."
    )
    parser.add_argument("results", type=Path, help="folder that holds cells/")
    parser.add_argument("page", type=Path, nargs="?", default=Path("reports/index.html"))
    given = parser.parse_args()
    try:
        report(given.results, given.page)
    except ValueError as error:
        parser.exit(1, f"{error}\n")
    print(f"{given.page} is built; tables and figures are in {given.results}/")
