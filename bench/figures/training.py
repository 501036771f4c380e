"""Training curves."""

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from bench.config.variants import training_of
from bench.figures.results import Results
from bench.figures.style import band, in_order, key, legend, panels, scale

MARKS = 6


def draw(results: Results) -> Figure | None:
    """The figure of one pattern of a model; None where nothing was trained."""
    log = losses(results)
    if log.empty:
        return None
    pruners = results.pruners
    trainings = in_order(log["training"])
    figure, axes = panels(1, pruners, height=2.2, sharex=True, sharey=True)
    for axis, pruner in zip(axes[0], pruners, strict=True):
        for number, training in enumerate(trainings):
            ours = log[(log["pruner"] == pruner) & (log["training"] == training)]
            over_seeds = ours.groupby("step")["loss"].agg(["mean", "min", "max"])
            every = max(1, len(over_seeds) // MARKS)
            style = results.looks[training]
            axis.plot(over_seeds["mean"], **style, markevery=(number % every, every))
            band(axis, over_seeds.index, over_seeds["min"], over_seeds["max"], style)
        axis.set_xlabel("optimizer step")
        axis.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    scale(axes[0], log["loss"])
    axes[0][0].set_ylabel("training loss (nats)")
    legend(figure, [key(training, results.looks[training]) for training in trainings])
    return figure


def losses(results: Results) -> pd.DataFrame:
    """Loss by pruner, training, seed and step; a training that several repairs share once."""
    rows = [
        {
            "pruner": cell.pruner,
            "training": training_of(cell.repair),
            "seed": cell.seed,
            "step": entry["step"],
            "loss": entry["loss"],
        }
        for cell, history in results.histories.items()
        for entry in history["training"]
    ]
    columns = ["pruner", "training", "seed", "step", "loss"]
    return pd.DataFrame(rows, columns=columns).drop_duplicates(columns[:-1])
