"""A score against what the repair costs: memory and seconds."""

import pandas as pd
from matplotlib.figure import Figure

from bench.cells import DENSE
from bench.figures.results import Results
from bench.figures.style import REFERENCE, key, legend, panels, reference_key, scale
from bench.records.measures import COSTS, MEMORY, SEVERAL, TIME, WAITED, Kind, beside_others

# Its range over the bases and seeds of the same training.
RANGE = (f"{MEMORY}_low", f"{MEMORY}_high")
SPENT = (MEMORY, TIME)


def draw(results: Results) -> Figure | None:
    """The figure of one pattern of a model; None where no repair has a cost and a score.

    What is not ranked, as what is not as sparse as was asked, is drawn and is not on a front.
    """
    identity = ["pruner", "repair"]
    task, kind = next(iter(results.chief.items()), (None, None))
    scores = results.scores[results.scores["task"] == task]
    points = results.costs[results.costs["pruner"] != DENSE]
    points = points[[*identity, *SPENT, *RANGE, WAITED, "device"]]
    shown = [*identity, "mean", "ci_low", "ci_high", "tie_group"]
    points = points.merge(scores[shown], on=identity)
    # Costs of one device are comparable: of that which most repairs ran on.
    several = points["device"].str.contains(SEVERAL, regex=False)
    ran_on = points.loc[(points["repair"] != "none") & ~several, "device"].mode()
    points = points[points["device"].isin(ran_on[:1]) | (points["repair"] == "none")]
    points = points.dropna(subset="mean")
    repaired = points[points["repair"] != "none"]
    if repaired[[*SPENT]].isna().all(axis=None):
        return None
    pruners = results.pruners
    figure, axes = panels(len(SPENT), pruners, sharex="row", sharey=True)
    for row, cost in zip(axes, SPENT, strict=True):
        for axis, pruner in zip(row, pruners, strict=True):
            ours = repaired[repaired["pruner"] == pruner].dropna(subset=cost)
            base = points.loc[(points["pruner"] == pruner) & (points["repair"] == "none"), "mean"]
            for level, line in ((results.dense(task), "--"), *((b, ":") for b in base)):
                if level is not None:
                    axis.axhline(level, color=REFERENCE, linestyle=line, linewidth=1, zorder=1)
            shared = [cost == TIME and beside_others(waited) for waited in ours[WAITED]]
            ours = ours.assign(shared=pd.Series(shared, ours.index, dtype=bool))
            for point in ours.itertuples():
                look = results.looks[point.repair] | {"linestyle": ""}
                axis.errorbar(
                    getattr(point, cost),
                    point.mean,
                    [[point.mean - point.ci_low], [point.ci_high - point.mean]],
                    _range(point, cost),
                    **look | ({"markerfacecolor": "white"} if point.shared else {}),
                    elinewidth=0.6,
                )
            best = front(ours[~ours["shared"] & ours["tie_group"].notna()], cost, kind)
            axis.step(
                best[cost], best["mean"], where="post", color=REFERENCE, linewidth=0.8, zorder=1
            )
            axis.set_xlabel(COSTS[cost].heading)
        scale(row, repaired[cost], "x")
        row[0].set_ylabel(kind.label(task))
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


def front(points: pd.DataFrame, cost: str, kind: Kind) -> pd.DataFrame:
    """The points that no other beats in cost and mean, by cost."""
    points = points.sort_values([cost, "mean"], ascending=[True, kind.lower_is_better])
    gain = points["mean"] * (-1 if kind.lower_is_better else 1)
    return points[gain > gain.cummax().shift(fill_value=float("-inf"))]
