"""What the page is made from."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from bench.figures import NOTHING
from bench.figures.results import Results
from bench.records.submissions import Sent
from bench.training.tuning import read_sweep


@dataclass(frozen=True)
class Sources:
    """Records, and the tables made from them; a table that has not been made yet is empty.

    Attributes:
        records: of every cell, by the path of its file.
        results: what figures are drawn from.
        claims: ``results/claims.csv``.
        reproduction: ``results/reproduction.csv``.
        tuning: recorded sweeps of learning rates, one row a trial.
        figures: SVG of each figure that shows anything: by its name, then by ``<model>[@<budget>]``
            or ``<model>[@<budget>]/<pattern>``.
        submissions: of other groups.
    """

    records: Mapping[str, dict]
    results: Results
    claims: pd.DataFrame
    reproduction: pd.DataFrame
    tuning: pd.DataFrame
    figures: dict[str, dict[str, str]]
    submissions: Sequence[Sent]


def read_sweeps(paths: Iterable[str | Path]) -> pd.DataFrame:
    """Sweeps of learning rates, each named after its model; empty without any."""
    sweeps = [read_sweep(path).assign(model=Path(path).stem) for path in paths]
    return pd.concat(sweeps, ignore_index=True) if sweeps else pd.DataFrame()


def read_figures(paths: Iterable[Path]) -> dict[str, dict[str, str]]:
    """The figures that show anything, of ``figures/<model>[@<budget>]/<name>.svg`` and
    ``figures/<model>[@<budget>]/<pattern>/<name>.svg``.
    """
    drawn: dict[str, dict[str, str]] = {}
    for path in paths:
        where = path.parent.parts[path.parts.index("figures") + 1 :]
        svg = path.read_text(encoding="utf-8")
        if f"<dc:title>{NOTHING}<" not in svg:
            drawn.setdefault(path.stem, {})["/".join(where)] = svg
    return drawn


def plain(frame: pd.DataFrame) -> list[dict]:
    """Rows as JSON takes them: what is missing is null, numbers have six digits."""
    return [
        {column: _plain(value) for column, value in row.items()}
        for row in frame.to_dict(orient="records")
    ]


def _plain(value):
    if isinstance(value, list | dict):
        return value
    if pd.isna(value):
        return None
    if isinstance(value, float):
        return int(value) if value.is_integer() else float(f"{value:.6g}")
    return value.item() if hasattr(value, "item") else value
