"""How the topology evolves: which weights come back, and what stays of the start."""

import numpy as np
import pandas as pd
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from bench.figures.layers import heat_maps
from bench.figures.results import Results
from bench.figures.style import in_order, panels

MEASURES = {
    "reactivated": "reactivated share",
    "overlap": "overlap with the start",
}


def draw(results: Results) -> Figure | None:
    """The figure of one pattern of a model; None where no repair evolves."""
    evolving = _first_seeds(results)
    if not evolving:
        return None
    repairs, pruners = in_order(repair for _, repair in evolving), results.pruners
    steps = sorted(set().union(*(_steps(history["evolution"]) for history in evolving.values())))
    height = 0.4 + len(repairs)
    figure, axes = panels(len(MEASURES), pruners, height=height, sharex=True)
    for row, (measure, label) in zip(axes, MEASURES.items(), strict=True):
        matrices = {where: _matrix(history, measure, steps) for where, history in evolving.items()}
        values = np.concatenate([matrix.ravel() for matrix in matrices.values()])
        norm = Normalize(np.nanmin(values), max(np.nanmax(values), np.nanmin(values) + 1e-6))
        heat_maps(row, pruners, repairs, matrices, norm, height=height, label=label)
    every = -(-len(steps) // 6)
    for axis in axes[-1]:
        axis.set_xticks(range(0, len(steps), every), steps[::every])
        axis.set_xlabel("optimizer step of the evolution")
    return figure


def _first_seeds(results: Results) -> dict[tuple[str, str], dict]:
    """The history of the first seed of each pruner and repair that evolves."""
    found: dict[tuple[str, str], dict] = {}
    for cell in sorted(results.histories):
        if results.histories[cell]["evolution"]["step"]:
            found.setdefault((cell.pruner, cell.repair), results.histories[cell])
    return found


def _matrix(history: dict, measure: str, steps: list[int]) -> np.ndarray:
    """Values of shape (layers, steps): at each step those of the repair's last evolution up to it;
    NaN before the first, and where a layer has fewer evolutions.
    """
    evolution = history["evolution"]
    numbers = _numbers(evolution["layer"])
    # The last column is that of a step before the first evolution.
    matrix = np.full((len(history["layers"]), max(numbers) + 2), np.nan)
    matrix[evolution["layer"], numbers] = np.array(evolution[measure], dtype=float)
    return matrix[:, np.searchsorted(_steps(evolution), steps, side="right") - 1]


def _steps(evolution: dict) -> list[int]:
    """The step of each evolution; the first layer's, where layers take turns."""
    return pd.Series(evolution["step"]).groupby(_numbers(evolution["layer"])).first().tolist()


def _numbers(layers: list[int]) -> pd.Series:
    """For each evolution, how many its layer had before."""
    return pd.Series(layers).groupby(layers).cumcount()
