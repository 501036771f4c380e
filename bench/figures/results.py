"""What figures are drawn from."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from bench.cells import DENSE, NO_BUDGET, Cell
from bench.figures.style import in_order, looks, pattern_order
from bench.files import read_table
from bench.records.history import read_histories
from bench.records.measures import Kind, chief_scores, kinds_of


@dataclass(frozen=True)
class Results:
    """Scores, costs and histories of the cells of a grid, whatever part of it there is.

    Attributes:
        scores: ``results/scores.csv``.
        costs: ``results/table1.csv``.
        comparisons: ``results/comparisons.csv``.
        histories: by cell, of the cells that were trained.
        looks: of every repair of the whole grid, colour, marker and line.
    """

    scores: pd.DataFrame
    costs: pd.DataFrame
    comparisons: pd.DataFrame
    histories: dict[Cell, dict]
    looks: dict[str, dict]

    @classmethod
    def read(cls, results: Path, histories: Iterable[str | Path]) -> "Results":
        """Read the tables of a folder ``results``, and the histories at these paths."""
        scores, costs, comparisons = (
            read_table(results / f"{name}.csv") for name in ("scores", "table1", "comparisons")
        )
        return cls(scores, costs, comparisons, read_histories(histories), looks(costs["repair"]))

    def of(self, model: str, pattern: str | None = None) -> "Results":
        """Those of one model, or one pattern of it; the dense model's among them."""

        def is_of(rows: pd.DataFrame) -> pd.Series:
            of_pattern = pattern is None or rows["pattern"].isin([pattern, DENSE])
            return (rows["model"] == model) & of_pattern

        return self._only(
            is_of, lambda cell: cell.model == model and pattern in (None, cell.pattern)
        )

    def at(self, budget: str) -> "Results":
        """Those of one budget; what is not trained is among them."""
        return self._only(
            lambda rows: rows["budget"].isin([budget, NO_BUDGET]),
            lambda cell: cell.budget == budget,
        )

    def _only(
        self, rows: Callable[[pd.DataFrame], pd.Series], cells: Callable[[Cell], bool]
    ) -> "Results":
        """Those in some rows of the tables, and the histories of some cells."""
        tables = {name: getattr(self, name) for name in ("scores", "costs", "comparisons")}
        histories = {cell: found for cell, found in self.histories.items() if cells(cell)}
        kept = {name: table[rows(table)] for name, table in tables.items()}
        return replace(self, **kept, histories=histories)

    @property
    def budgets(self) -> list[str]:
        """At which anything was trained, from the smallest to the largest."""
        trained = self.scores[self.scores["budget"] != NO_BUDGET]
        return list(trained.sort_values(["tokens", "budget"])["budget"].unique())

    @property
    def pruners(self) -> list[str]:
        return [name for name in self.costs["pruner"].unique() if name != DENSE]

    @property
    def patterns(self) -> list[str]:
        found = set(self.costs["pattern"]) - {DENSE}
        return sorted(found, key=pattern_order)

    @property
    def repairs(self) -> list[str]:
        return in_order(self.costs.loc[self.costs["pruner"] != DENSE, "repair"])

    @property
    def chief(self) -> dict[str, Kind]:
        """The scores by which repairs are judged, that with most signal first."""
        kinds = kinds_of(self.scores)
        return {name: kinds[name] for name in chief_scores(self.scores)}

    def dense(self, task: str) -> float | None:
        """The dense model's score."""
        rows = self.scores[(self.scores["pruner"] == DENSE) & (self.scores["task"] == task)]
        values = rows["mean"].dropna()
        return None if values.empty else float(values.iloc[0])
