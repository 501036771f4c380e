"""What the page is made from."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from bench.figures import NOTHING
from bench.figures.results import Results
from bench.files import read_table
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

    records: dict[str, dict]
    results: Results
    claims: pd.DataFrame
    reproduction: pd.DataFrame
    tuning: pd.DataFrame
    figures: dict[str, dict[str, str]]
    submissions: list[Sent]

    @classmethod
    def read(
        cls,
        folder: Path,
        records: Mapping[str, dict],
        results: Results,
        *,
        tuning: Iterable[str | Path],
        figures: Iterable[Path],
        submissions: Iterable[Sent] = (),
    ) -> "Sources":
        """Read the tables of a folder ``results``, the sweeps, and the figures.

        Args:
            folder: of the tables.
            records: by their paths.
            results: what figures are drawn from.
            tuning: paths of the sweeps, each named after its model.
            figures: of the figures as SVG: ``figures/<model>[@<budget>]/<name>.svg`` or
                ``figures/<model>[@<budget>]/<pattern>/<name>.svg``.
            submissions: of other groups.
        """
        sweeps = [read_sweep(path).assign(model=Path(path).stem) for path in tuning]
        return cls(
            dict(records),
            results,
            read_table(folder / "claims.csv"),
            read_table(folder / "reproduction.csv"),
            pd.concat(sweeps, ignore_index=True) if sweeps else pd.DataFrame(),
            _read_figures(figures),
            list(submissions),
        )


def _read_figures(paths: Iterable[Path]) -> dict[str, dict[str, str]]:
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
