"""Where weights moved: layer by projection."""

import re

import numpy as np
import pandas as pd
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator

from bench.figures.layers import heat_maps
from bench.figures.results import Results
from bench.figures.style import in_order, log_ticks, panels

MEASURES = {
    "change": "relative change",
    "entered": "share that entered",
}


def draw(results: Results) -> Figure | None:
    """The figure of one pattern of a model; None where nothing was trained."""
    changes = changes_by_layer(results)
    if changes.empty:
        return None
    repairs, pruners = in_order(changes["repair"]), results.pruners
    projections = list(dict.fromkeys(changes["projection"]))
    blocks = changes["block"].max() + 1
    height = 0.4 + 0.45 * len(repairs)
    figure, axes = panels(len(MEASURES), pruners, height=height, sharex=True)
    for row, (measure, label) in zip(axes, MEASURES.items(), strict=True):
        matrices = {
            where: _matrix(rows, measure, blocks, projections)
            for where, rows in changes.groupby(["pruner", "repair"])
        }
        heat_maps(
            row,
            pruners,
            repairs,
            matrices,
            _norm(changes[measure]),
            height=height,
            label=label,
            ticks=LogLocator(subs=log_ticks(changes[measure])),
            format="{x:.3g}",
        ).minorticks_off()
    for axis in axes[-1]:
        axis.set_xticks(range(len(projections)), projections)
    return figure


def changes_by_layer(results: Results) -> pd.DataFrame:
    """One row a cell and layer."""
    rows = [
        {
            "pruner": cell.pruner,
            "repair": cell.repair,
            "block": int(re.search(r"\.(\d+)\.", layer)[1]),
            # Of `model.layers.3.self_attn.q_proj` that is q.
            "projection": layer.rpartition(".")[2].removesuffix("_proj"),
            **change,
        }
        for cell, history in results.histories.items()
        for layer, change in history["layers"].items()
    ]
    return pd.DataFrame(rows, columns=["pruner", "repair", "block", "projection", *MEASURES])


def _matrix(rows: pd.DataFrame, measure: str, blocks: int, projections: list[str]) -> np.ndarray:
    """Means over seeds, of shape (blocks, projections); NaN where nothing moved."""
    means = rows.pivot_table(index="block", columns="projection", values=measure, aggfunc="mean")
    matrix = means.reindex(index=range(blocks), columns=projections).to_numpy(dtype=float)
    return np.where(matrix > 0, matrix, np.nan)


def _norm(values: pd.Series) -> LogNorm:
    """From the smallest to the largest value that is not zero."""
    positive = values[values > 0]
    if positive.empty:
        return LogNorm(1e-3, 1)
    return LogNorm(positive.min(), max(positive.max(), 1.01 * positive.min()))
