"""Memory and time of trainings against the length of their sequences, of a profile."""

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from bench.figures.style import band, key, legend, looks, panels, scale
from bench.records.measures import MIB
from bench.records.profiles import CONDITION, setting_name

ROWS = {"peak MiB above the base": ("peak_bytes", MIB), "seconds a step": ("step_seconds", 1)}


def draw_profile(measured: pd.DataFrame) -> Figure:
    """A line a method, of medians, in a band from the lowest to the highest repetition.

    Args:
        measured: one row a measurement, as :func:`bench.records.profiles.read_profile` has them.
    """
    conditions = dict(tuple(measured.groupby(CONDITION[1:], sort=False)))
    titles = [setting_name(*kind) or "dense" for kind in conditions]
    methods = list(measured["method"].unique())
    look = looks(methods)
    lengths = sorted(measured["length"].unique())
    figure, axes = panels(len(ROWS), titles, sharex=True, sharey="row")
    for line, (label, (column, unit)) in zip(axes, ROWS.items(), strict=True):
        for axis, rows in zip(line, conditions.values(), strict=True):
            for method in methods:
                values = rows[rows["method"] == method].groupby("length")[column]
                low, middle, high = (
                    getattr(values, end)() / unit for end in ("min", "median", "max")
                )
                axis.plot(middle.index, middle, **look[method])
                band(axis, middle.index, low, high, look[method])
            axis.set_xscale("log", base=2)
            axis.set_xticks(lengths, [f"{length:,}" for length in lengths])
            axis.xaxis.set_minor_locator(NullLocator())
        scale(line, measured[column] / unit)
        line[0].set_ylabel(label)
    for axis in axes[-1]:
        axis.set_xlabel("tokens a sequence")
    legend(figure, [key(method, look[method]) for method in methods])
    return figure
