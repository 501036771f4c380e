"""How every figure looks: a colour and a marker for each method, the same wherever it appears.

The colours are those of Okabe and Ito, which the colour-blind tell apart, without yellow, which
paper swallows; black is the pruned model without repair. Markers tell methods apart without colour,
and lines each six methods from the six before.
"""

from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.textpath import TextPath
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from baselines.pruning.pattern import Pattern
from baselines.repair import REPAIRS
from bench.config.variants import place_of

UNREPAIRED = "#000000"
COLOURS = ("#e69f00", "#56b4e9", "#009e73", "#0072b2", "#d55e00", "#cc79a7")
MARKERS = "sD^vPX<>ph*dH8"
LINES = {"-": "", "--": "////", ":": "||||", "-.": "xxxx"}  # and the hatch of bars
REFERENCE = "#767676"

# Nothing in a file that differs between two runs: equal results, equal bytes.
METADATA = {
    "png": {"Software": None},
    "svg": {"Date": None, "Creator": None},
    "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
}
PANEL = (2.35, 1.9)
SETTINGS = {
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.labelsize": 8,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7.5,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": "#e4e4e4",
    "grid.linewidth": 0.5,
    "lines.linewidth": 1.2,
    "lines.markersize": 4,
    "legend.frameon": False,
    "hatch.linewidth": 0.5,
    "figure.dpi": 160,
    "savefig.dpi": 160,
    "svg.hashsalt": "figures",
    "pdf.fonttype": 42,
}
# Of a legend, in sizes of its font: a handle with the gap after it, and a column with its own.
HANDLE, GAP, COLUMN_GAP = 2.2, 0.8, 1.3


def looks(repairs: Iterable[str]) -> dict[str, dict]:
    """Colour, marker and line of each repair of a grid, as matplotlib takes them.

    Those of a registered repair are the same in every grid; variants have what is left.
    """
    found = {"none": {"color": UNREPAIRED, "marker": "o", "linestyle": "-"}}
    trained = [name for name in in_order([*REPAIRS, *repairs]) if name != "none"]
    for number, name in enumerate(trained):
        found[name] = {
            "color": COLOURS[number % len(COLOURS)],
            "marker": MARKERS[number % len(MARKERS)],
            "linestyle": list(LINES)[number // len(COLOURS) % len(LINES)],
        }
    return found


def bar(look: dict) -> dict:
    """Colour and hatch of the bar of a repair that looks like this."""
    return {"color": look["color"], "hatch": LINES[look["linestyle"]], "edgecolor": "white"}


def swatch(look: dict) -> str:
    """The CSS background of a disc that tells this look from all others of its colour."""
    return {
        "-": "{0}",
        "--": "radial-gradient(closest-side, transparent 52%, {0} 58%)",
        ":": "linear-gradient(90deg, {0} 50%, transparent 50%)",
        "-.": "radial-gradient(closest-side, {0} 32%, transparent 38% 62%, {0} 68%)",
    }[look["linestyle"]].format(look["color"])


def in_order(repairs: Iterable[str]) -> list[str]:
    """Repairs, each once, in the order of the tables."""
    return sorted(set(repairs), key=place_of)


def pattern_label(pattern: str) -> str:
    """``s60`` as 60 %, ``2of4`` as 2:4."""
    return pattern.replace("of", ":") if "of" in pattern else f"{pattern.removeprefix('s')} %"


def pattern_order(pattern: str) -> tuple:
    """Unstructured patterns by sparsity, then N:M."""
    parsed = Pattern.parse(pattern)
    return (parsed.m or 0, parsed.sparsity)


def panels(
    rows: int, columns: Sequence[str], *, height: float = PANEL[1], **options
) -> tuple[Figure, list[list[Axes]]]:
    """A figure with a panel for each row and named column."""
    figure = Figure(
        figsize=(max(1.8 * PANEL[0], PANEL[0] * len(columns)), 0.5 + height * rows),
        layout="constrained",
    )
    axes = figure.subplots(rows, len(columns), squeeze=False, **options)
    for title, axis in zip(columns, axes[0], strict=True):
        axis.set_title(title)
    for axis in axes[:, 1:].flat:
        axis.tick_params(left=False, which="both")
    return figure, axes.tolist()


def band(axis: Axes, x: pd.Series, low: pd.Series, high: pd.Series, look: dict) -> None:
    """A band in the colour of a line that looks like this."""
    axis.fill_between(x, low, high, color=look["color"], alpha=0.12, linewidth=0)


def scale(axes: Iterable[Axes], values: pd.Series, direction: str = "y") -> None:
    """Few and plain ticks; a logarithmic axis where values differ by more than a factor of 5."""
    logarithmic = values.max() > 5 * values[values > 0].min()
    for panel in axes:
        axis = getattr(panel, f"{direction}axis")
        if logarithmic:
            getattr(panel, f"set_{direction}scale")("log")
            axis.set_major_locator(LogLocator(subs=log_ticks(values)))
            axis.set_minor_locator(NullLocator())
            axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.6g}"))
        else:
            axis.set_major_locator(MaxNLocator(5 if direction == "y" else 4))


def log_ticks(values: pd.Series) -> tuple[int, ...]:
    """Which multiples of the powers of ten a logarithmic axis names."""
    return (1, 2, 5) if values.max() < 500 * values[values > 0].min() else (1,)


def legend(figure: Figure, handles: Sequence) -> None:
    """One legend below all panels, no wider than they are."""
    if handles:
        rows = 1 if len(handles) <= 7 else -(-len(handles) // 6)
        columns = -(-len(handles) // rows)
        labels = [handle.get_label() for handle in handles]
        while columns > 1 and _legend_width(labels, columns) > 72 * figure.get_figwidth():
            columns -= 1
        figure.legend(
            handles=handles,
            loc="outside lower center",
            ncols=columns,
            columnspacing=COLUMN_GAP,
            handlelength=HANDLE,
            handletextpad=GAP,
        )


def _legend_width(labels: list[str], columns: int) -> float:
    """Width in points of a legend, whose columns are as wide as their longest label."""
    size = SETTINGS["legend.fontsize"]
    texts = [TextPath((0, 0), label, size=size).get_extents().width for label in labels]
    widths = [max(column) for column in np.array_split(texts, columns)]
    return sum(widths) + size * (columns * (HANDLE + GAP + COLUMN_GAP))


def key(repair: str, look: dict, **changes) -> Line2D:
    """The entry in a legend of a repair that looks like this."""
    return Line2D([], [], label=repair, **(look | changes))


def reference_key(label: str, linestyle: str = "--") -> Line2D:
    return Line2D([], [], label=label, color=REFERENCE, linestyle=linestyle, linewidth=1)
