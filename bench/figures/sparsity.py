"""Scores against sparsity."""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from baselines.pruning.pattern import Pattern
from bench.figures.results import Results
from bench.figures.style import (
    REFERENCE,
    band,
    key,
    legend,
    panels,
    pattern_label,
    reference_key,
    scale,
)


def draw(results: Results) -> Figure | None:
    """The figure of one model; None where nothing is scored, or at one sparsity alone."""
    sparse = results.scores[results.scores["pattern"].isin(results.patterns)]
    pruners, positions = results.pruners, _positions(results.patterns)
    if len(positions) < 2 or sparse["mean"].isna().all():
        return None
    figure, axes = panels(len(results.chief), pruners, sharex=True, sharey="row")
    for row, (task, kind) in zip(axes, results.chief.items(), strict=True):
        for axis, pruner in zip(row, pruners, strict=True):
            shown = sparse[(sparse["task"] == task) & (sparse["pruner"] == pruner)]
            for number, repair in enumerate(results.repairs):
                shift = (number - (len(results.repairs) - 1) / 2) * 6 / len(results.repairs)
                ours = shown[shown["repair"] == repair]
                _draw_repair(axis, ours, results.looks[repair], positions, shift)
            dense = results.dense(task)
            if dense is not None:
                axis.axhline(dense, color=REFERENCE, linestyle="--", linewidth=1, zorder=1)
        scale(row, sparse.loc[sparse["task"] == task, "mean"])
        row[0].set_ylabel(kind.label(task))
    for axis in axes[-1]:
        axis.set_xticks(list(positions.values()), map(pattern_label, positions))
        axis.set_xlim(min(positions.values()) - 5, max(positions.values()) + 5)
        axis.set_xlabel("sparsity")
    keys = [key(repair, results.looks[repair]) for repair in results.repairs]
    legend(figure, [reference_key("dense"), *keys])
    return figure


def _positions(patterns: list[str]) -> dict[str, float]:
    """Unstructured patterns at their percentage, N:M patterns to the right of them."""
    positions: dict[str, float] = {}
    for pattern in patterns:
        parsed = Pattern.parse(pattern)
        last = max(positions.values(), default=40.0)
        positions[pattern] = 100 * parsed.sparsity if parsed.m is None else last + 10
    return positions


def _draw_repair(
    axis: Axes, scores: pd.DataFrame, style: dict, positions: dict[str, float], shift: float
) -> None:
    """Lines with a band over neighbouring unstructured patterns, points with bars elsewhere."""
    scores = scores.dropna(subset="mean")
    if scores.empty:
        return
    scores = scores.assign(x=scores["pattern"].map(positions)).sort_values("x")
    structured = scores["pattern"].str.contains("of")
    # No line says what would be at a pattern between two that was not run.
    place = scores["x"].map([*positions.values()].index)
    lines = (structured | (place.diff() != 1)).cumsum()
    alone = lines.map(lines.value_counts()) == 1
    for _, line in scores[~alone].groupby(lines):
        axis.plot(line["x"], line["mean"], **style)
        band(axis, line["x"], line["ci_low"], line["ci_high"], style)
    points = scores[alone]
    around = [points["mean"] - points["ci_low"], points["ci_high"] - points["mean"]]
    axis.errorbar(
        points["x"] + shift, points["mean"], around, **style | {"linestyle": ""}, elinewidth=0.8
    )
