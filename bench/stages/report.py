"""Figures and the page, made of records and of the tables made of them."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from tqdm import tqdm

from bench.cells import DEFAULT_BUDGET
from bench.figures import places
from bench.figures.draw import write
from bench.figures.results import Results
from bench.files import read_table, whole
from bench.records.submissions import Sent
from bench.report import Sources, build_page
from bench.report.sources import read_figures, read_sweeps


def draw_figures(results: Results, folder: Path) -> list[Path]:
    """Draw all figures of these results into a folder, budget by budget; their paths as SVG."""
    budgets, wanted = results.budgets or [DEFAULT_BUDGET], {}
    for model in results.costs["model"].unique():
        wanted |= places(model, results.of(model).patterns, budgets)
    drawn = []
    for path, of in tqdm(wanted.items(), desc="figures", leave=False):
        ours = results.at(of["budget"]) if "budget" in of else results
        where = [of[key] for key in ("model", "pattern") if key in of]
        write(folder / path, of["figure"], ours, *where)
        drawn.append((folder / path).with_suffix(".svg"))
    return drawn


def report(
    records: Mapping[str, dict],
    histories: Sequence[str | Path],
    sweeps: Sequence[str | Path],
    submissions: Sequence[Sent],
    results: Path,
    page: Path,
) -> None:
    """Draw the figures into ``results/figures``, and build the page.

    Args:
        records: by their paths, that the tables in ``results`` are made of.
        histories: of the trainings.
        sweeps: recorded sweeps of learning rates, each named after its model.
        submissions: beside the records of here.
        results: folder of the tables.
        page: file to write.
    """
    read = Results.read(results, histories)
    drawn = draw_figures(read, results / "figures")
    sources = Sources(
        records,
        read,
        claims=read_table(results / "claims.csv"),
        reproduction=read_table(results / "reproduction.csv"),
        tuning=read_sweeps(sweeps),
        figures=read_figures(drawn),
        submissions=submissions,
    )
    with whole(page) as path:
        path.write_text(build_page(sources), encoding="utf-8")
