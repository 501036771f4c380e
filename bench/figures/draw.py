"""Draws figures by their names."""

from importlib import import_module
from pathlib import Path

import matplotlib
import pandas as pd
from matplotlib.figure import Figure

from bench.figures import FORMATS, NOTHING
from bench.figures.profile import draw_profile
from bench.figures.results import Results
from bench.figures.style import METADATA, SETTINGS
from bench.files import whole


def draw(name: str, results: Results, model: str, pattern: str | None = None) -> Figure | None:
    """The figure ``name`` of a model, or of one pattern of it; None where nothing is to show."""
    with matplotlib.rc_context(SETTINGS):
        return import_module(f"bench.figures.{name}").draw(results.of(model, pattern))


def write(stem: str | Path, name: str, results: Results, *where: str) -> None:
    """Write a figure in all formats; where there is nothing to show, its title is ``NOTHING``.

    Equal results give equal bytes.
    """
    with matplotlib.rc_context(SETTINGS):
        figure, title = draw(name, results, *where), {}
        if figure is None:
            figure, title = Figure(figsize=(4, 0.8)), {"Title": NOTHING}
            figure.text(0.5, 0.5, f"{name}: {NOTHING}", ha="center")
        # Laid out once for all formats, which takes longer than drawing.
        figure.draw_without_rendering()
        figure.set_layout_engine("none")
        for kind in FORMATS:
            with whole(f"{stem}.{kind}") as path:
                figure.savefig(path, format=kind, metadata=METADATA[kind] | title)


def write_profile(measured: pd.DataFrame, path: Path) -> None:
    """Draw a profile to a file, in the format that its name ends in."""
    kind = path.suffix.removeprefix(".")
    with matplotlib.rc_context(SETTINGS), whole(path) as temporary:
        draw_profile(measured).savefig(temporary, format=kind, metadata=METADATA[kind])
