"""Accuracy against what the repair costs: memory and seconds."""

import pandas as pd
from matplotlib.figure import Figure

from bench.cells import DENSE
from bench.figures.results import Results, task_label
from bench.figures.style import REFERENCE, key, legend, panels, reference_key, scale
from bench.tables.table1 import MEMORY

# Its range over the bases and seeds of the same training.
RANGE = (f"{MEMORY}_low", f"{MEMORY}_high")
COSTS = {
    MEMORY: "peak memory of the repair (MiB)",
    "repair_cost_seconds": "seconds of repair and merge",
}


def draw(results: Results, model: str, pattern: str) -> Figure | None:
    """The figure of one pattern of a model; None where no repair has a cost and a score."""
    results = results.of(model, pattern)
    identity = ["pruner", "repair"]
    scores = results.scores[results.scores["task"] == "average"]
    points = results.costs[results.costs["pruner"] != DENSE][[*identity, *COSTS, *RANGE]]
    points = points.merge(scores[[*identity, "mean", "ci_low", "ci_high"]], on=identity)
    points = points.dropna(subset="mean")
    repaired = points[points["repair"] != "none"]
    if repaired[list(COSTS)].isna().all(axis=None):
        return None
    pruners = results.pruners
    figure, axes = panels(len(COSTS), pruners, sharex="row", sharey=True)
    for row, (cost, label) in zip(axes, COSTS.items(), strict=True):
        for axis, pruner in zip(row, pruners, strict=True):
            ours = repaired[repaired["pruner"] == pruner].dropna(subset=cost)
            base = points.loc[(points["pruner"] == pruner) & (points["repair"] == "none"), "mean"]
            for level, line in ((results.dense("average"), "--"), *((b, ":") for b in base)):
                if level is not None:
                    axis.axhline(level, color=REFERENCE, linestyle=line, linewidth=1, zorder=1)
            for point in ours.itertuples():
                axis.errorbar(
                    getattr(point, cost),
                    point.mean,
                    [[point.mean - point.ci_low], [point.ci_high - point.mean]],
                    _range(point, cost),
                    **results.looks[point.repair] | {"linestyle": ""},
                    elinewidth=0.6,
                )
            best = front(ours, cost)
            axis.step(
                best[cost], best["mean"], where="post", color=REFERENCE, linewidth=0.8, zorder=1
            )
            axis.set_xlabel(label)
        scale(row, repaired[cost], "x")
        row[0].set_ylabel(task_label("average"))
    handles = [reference_key("dense"), reference_key("none", ":")]
    present = [repair for repair in results.repairs if repair in set(repaired["repair"])]
    handles += [key(repair, results.looks[repair], linestyle="") for repair in present]
    legend(figure, handles)
    return figure


def _range(point, cost: str) -> list[list[float]] | None:
    """What an error bar shows of a cost: how far the same training's lie from it."""
    if cost != MEMORY:
        return None
    low, high = (getattr(point, end) for end in RANGE)
    return [[getattr(point, cost) - low], [high - getattr(point, cost)]]


def front(points: pd.DataFrame, cost: str) -> pd.DataFrame:
    """The points that no other beats in cost and mean, by cost."""
    points = points.sort_values([cost, "mean"], ascending=[True, False])
    return points[points["mean"] > points["mean"].cummax().shift(fill_value=float("-inf"))]
