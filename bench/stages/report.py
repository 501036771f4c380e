"""Figures and the page, made of records and of the tables made of them."""

from collections.abc import Sequence
from itertools import product
from pathlib import Path

from tqdm import tqdm

from bench.cells import DEFAULT_BUDGET, suffix
from bench.figures import OF_MODEL, OF_PATTERN
from bench.figures.draw import write
from bench.figures.results import Results
from bench.files import whole
from bench.report import Sources, build_page


def draw_figures(results: Results, folder: Path) -> list[Path]:
    """Draw all figures of these results into a folder, budget by budget; their paths as SVG."""
    wanted = []
    budgets = results.budgets or [DEFAULT_BUDGET]
    for model, budget in product(results.costs["model"].unique(), budgets):
        patterns = results.of(model).patterns
        wanted += [(budget, (model,), name) for name in OF_MODEL]
        wanted += [(budget, (model, p), name) for p, name in product(patterns, OF_PATTERN)]
    drawn = []
    for budget, (model, *pattern), name in tqdm(wanted, desc="figures", leave=False):
        stem = folder.joinpath(f"{model}{suffix(budget)}", *pattern, name)
        write(stem, name, results.at(budget), model, *pattern)
        drawn.append(stem.with_suffix(".svg"))
    return drawn


def report(
    records: Sequence[str | Path],
    histories: Sequence[str | Path],
    sweeps: Sequence[str | Path],
    results: Path,
    page: Path,
) -> None:
    """Draw the figures into ``results/figures``, and build the page.

    Args:
        records: that the tables in ``results`` are made of.
        histories: of the trainings.
        sweeps: recorded sweeps of learning rates, each named after its model.
        results: folder of the tables.
        page: file to write.
    """
    scores, table1 = results / "scores.csv", results / "table1.csv"
    drawn = draw_figures(Results.read(scores, table1, histories), results / "figures")
    sources = Sources.read(
        records=records,
        histories=histories,
        scores=scores,
        table1=table1,
        comparisons=results / "comparisons.csv",
        claims=results / "claims.csv",
        reproduction=results / "reproduction.csv",
        tuning=sweeps,
        figures=drawn,
    )
    with whole(page) as path:
        path.write_text(build_page(sources), encoding="utf-8")
