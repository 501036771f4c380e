"""The comparisons that a claim is taken apart into, and the evidence for each."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product

import pandas as pd

from bench.cells import DEFAULT_BUDGET, DENSE, UNREPAIRED, Cell
from bench.claims.evidence import Difference, Evidence, Largest, Ratio, Share
from bench.claims.spec import AXES, Claim
from bench.evaluation.tasks import PERPLEXITY
from bench.records.measures import (
    ANSWERS,
    AVERAGE,
    COSTS,
    beside_others,
    device_of,
    waited_percent,
)
from bench.records.profiles import CONDITION, PROFILED, condition_name
from bench.records.rows import budgets, by_row, score_parts, shown_value
from bench.statistics.comparisons import Tasks, pair
from bench.statistics.items import Row

POOLED = "all"
# What fails in training or in a perplexity where numbers leave their range.
DIVERGED = (FloatingPointError.__name__, OverflowError.__name__)


@dataclass(frozen=True)
class Lack:
    """Why there is no evidence at a base: ``what`` of it is missing, if that has a name."""

    why: str
    what: str = ""
    base: str = ""

    def __str__(self) -> str:
        return f"{self.base}: " + f"{self.what} {self.why}".strip()


@dataclass(frozen=True)
class Comparison:
    """One comparison of a claim.

    Attributes:
        place: its model, pruner, pattern, budget, against and task; None where the metric has no
            such thing, ``all`` where it is over several.
        evidence: None where nothing was measured.
        lacks: why not, where it was not.
        parts: on how many bases it was, and of how many scores, against how many repairs.
    """

    place: dict[str, str | None]
    evidence: Evidence | None
    lacks: Sequence[Lack] = ()
    parts: int = 0


class Grid:
    """What was measured, as claims ask for it.

    Args:
        records: all records.
        items: their results item by item.
        profile: measurements of trainings, if there are any.

    Attributes:
        budgets: at which anything was trained, from the smallest to the largest.
    """

    def __init__(
        self,
        records: list[dict],
        items: dict[Row, Tasks],
        profile: pd.DataFrame | None = None,
    ):
        self.profile = {}
        if profile is not None:
            conditions = profile.groupby(CONDITION, sort=False)
            self.profile = {condition_name(*condition): rows for condition, rows in conditions}
        self.rows = by_row(records)
        self.items = items
        self.scores = score_parts(records)
        self.budgets = budgets(records) or [DEFAULT_BUDGET]
        sparse = [row for row in self.rows if row[1] != DENSE]
        self.measured = {
            key: list(dict.fromkeys(row[place] for row in sparse))
            for place, key in enumerate(("model", "pruner", "pattern"))
        }
        self.names = {name for row in sparse for name in row}

    def comparisons(self, claim: Claim, budget: str) -> list[Comparison]:
        """Every comparison of a claim at a budget, whether its cells were measured or not."""
        groups: dict[tuple, list[dict]] = {}
        for place in self._places(claim):
            key = tuple(
                place[axis] if axis in claim.apart or place[axis] is None else POOLED
                for axis in AXES
            )
            groups.setdefault(key, []).append(place)
        return [
            self._comparison(claim, budget, dict(zip(AXES, key, strict=True)), places)
            for key, places in groups.items()
        ]

    def _places(self, claim: Claim) -> Iterator[dict]:
        axes = {
            key: getattr(claim.cells, key) or measured for key, measured in self.measured.items()
        }
        if claim.metric in PROFILED:
            axes = {key: [None] for key in axes}
        axes["against"] = claim.against or [None]
        axes["task"] = self._tasks(claim.metric)
        for values in product(*axes.values()):
            yield dict(zip(axes, values, strict=True))

    def _tasks(self, metric: str) -> list[str | None]:
        if metric == "tasks":
            return self.scores.get(AVERAGE, [])
        if metric in (AVERAGE, "answers"):
            name = AVERAGE if metric == AVERAGE else ANSWERS
            return [name] if name in self.scores else []
        if metric == PERPLEXITY:
            return [name for name in self.scores if name.endswith(f"_{PERPLEXITY}")]
        if metric in PROFILED:
            return [*self.profile] or [None]
        return [None]

    def _comparison(self, claim: Claim, budget: str, place: dict, places: list[dict]) -> Comparison:
        parts, lacks = [], []
        for one in places:
            base = (one["model"], one["pruner"], one["pattern"])
            found = self._evidence(claim, budget, base, one["against"], one["task"])
            if isinstance(found, Lack):
                # A profile is of no base.
                where = "-".join(filter(None, base[1:])) or one["task"] or "profile"
                lacks.append(replace(found, base=where))
            else:
                parts.append(found)
        evidence = type(parts[0]).pooled(parts) if parts else None
        if parts and evidence is None:
            lacks.append(Lack("no seed in common", base=POOLED))
        reasons = list(dict.fromkeys(lacks))
        return Comparison({**place, "budget": budget}, evidence, reasons, len(parts))

    def _evidence(
        self, claim: Claim, budget: str, base: tuple, against: str | None, task: str | None
    ) -> Evidence | Lack:
        """The evidence at one base, or why there is none."""
        if claim.metric in PROFILED:
            return self._profiled(claim, against, task)
        if len(self.budgets) < claim.budgets:
            return Lack(f"{len(self.budgets)} of at least {claim.budgets} budgets run")
        names = [name for name in (claim.cells.repair, against) if name is not None]
        rows = {name: Cell(*base, name, 0, budget).row for name in names}
        for name in (*base, *rows):
            if name not in self.names:
                return Lack("not in this grid", name)
        for name, row in rows.items():
            if row not in self.rows:
                return Lack("not run", name)
        if claim.metric == "diverged":
            return self._diverged(rows[claim.cells.repair])
        for name, row in rows.items():
            if all(record["status"] != "ok" for record in self.rows[row]):
                return Lack("failed", name)
        if claim.metric == "sparsity_drift":
            return self._drift(rows[claim.cells.repair])
        if claim.metric in COSTS:
            return self._ratio(claim.metric, *rows.values())
        found = pair(*(self.items.get(row, {}) for row in rows.values()), self.scores[task])
        if found is None:
            return Lack("no items in common")
        return Difference(found.difference)

    def _ratio(self, metric: str, row: Row, against: Row) -> Ratio | Lack:
        # Costs of different devices say nothing of each other, nor do times beside other work.
        cost = COSTS[metric]
        ours, theirs = (
            {
                (record["cell"]["seed"], device_of(record)): cost.of(record)
                for record in self.rows[name]
                if record["status"] == "ok"
                and not beside_others(waited_percent(record, cost.times))
            }
            for name in (row, against)
        )
        logarithms = {
            (row[:3], seed): math.log(spent / theirs[seed, device])
            for (seed, device), spent in ours.items()
            if spent and theirs.get((seed, device))
        }
        alone = ", with a core to itself" if cost.times else ""
        lack = f"not measured in one seed of both, on one device{alone}"
        return Ratio(logarithms) if logarithms else Lack(lack)

    def _profiled(self, claim: Claim, against: str, condition: str | None) -> Ratio | Lack:
        """The evidence in a profile under one of its conditions, or why there is none."""
        if condition is None:
            return Lack("not run (`make profile`)")
        costs = self.profile[condition].set_index(["method", "repetition"])
        costs = costs[PROFILED[claim.metric]].unstack("method")
        for name in (claim.cells.repair, against):
            if name not in costs:
                return Lack("not in this profile", name)
        ratios = (costs[claim.cells.repair] / costs[against]).dropna()
        if ratios.empty:
            return Lack("no repetition in common")
        return Ratio({((condition,), number): math.log(r) for number, r in ratios.items()})

    def _drift(self, row: Row) -> Largest | Lack:
        base = next((r for r in self._unrepaired(row) if r["metrics"]), None)
        if base is None:
            return self._lack_of_base(row)
        ours = [record["sparsity"] for record in self.rows[row] if record["status"] == "ok"]
        if not all("evolution" in sparsity for sparsity in ours):
            return Lack("not recorded", "the sparsity at its evolutions")
        return Largest([_largest_drift(s, base["sparsity"]["layers"]) for s in ours])

    def _unrepaired(self, row: Row) -> list[dict]:
        return self.rows.get(Cell(*row[:3], UNREPAIRED, 0).row, [])

    def _lack_of_base(self, row: Row) -> Lack:
        failed = any(record["status"] != "ok" for record in self._unrepaired(row))
        return Lack("failed" if failed else "not run", "the unrepaired base")

    def _diverged(self, row: Row) -> Share | Lack:
        corpora = [self.scores[name][0] for name in self._tasks(PERPLEXITY)]
        base = {
            corpus: [v for r in self._unrepaired(row) if (v := shown_value(r, corpus)) is not None]
            for corpus in corpora
        }
        if not all(base.values()):
            return self._lack_of_base(row)
        seeds, unknown = [], Lack("failed for other reasons")
        for record in self.rows[row]:
            if record["status"] == "ok":
                ours = {corpus: shown_value(record, corpus) for corpus in corpora}
                # What a record lacks was not asked of it; without any it says nothing.
                above = [v > min(base[c]) for c, v in ours.items() if v is not None]
                if above:
                    seeds.append(any(above))
                else:
                    unknown = Lack("not measured", "a perplexity")
            elif record["error"]["class"] in DIVERGED:
                seeds.append(True)
        return Share(seeds) if seeds else unknown


def _largest_drift(sparsity: dict, before: dict[str, float]) -> float:
    """The largest difference of a layer's sparsity from before, at an evolution or after all."""
    found = [*sparsity["layers"].items()]
    for layer, ends in (sparsity["evolution"] or {}).items():
        found += [(layer, end) for end in ends]
    return max(abs(value - before[layer]) for layer, value in found)
