"""Heat maps of layers, one below the other for each repair."""

import re
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colorbar import Colorbar
from matplotlib.colors import Normalize
from matplotlib.image import AxesImage

SEQUENTIAL = "cividis"
NOTHING = "#e8e8e8"


def block_of(layer: str) -> int:
    """Number of the decoder block that a layer is in."""
    return int(re.search(r"\.(\d+)\.", layer)[1])


def projection_of(layer: str) -> str:
    """``model.layers.3.self_attn.q_proj`` as q, ``mlp.gate_proj`` as gate."""
    return layer.rpartition(".")[2].removesuffix("_proj")


def heat_maps(
    axes: Sequence[Axes],
    matrices: Sequence[Mapping[str, np.ndarray]],
    repairs: Sequence[str],
    shape: tuple[int, int],
    norm: Normalize,
    *,
    height: float,
    **bar,
) -> Colorbar:
    """Draw a row of panels, a pruner's matrices by repair in each, and their colour bar.

    Args:
        axes: the panels, from left to right.
        matrices: of each panel.
        repairs: in the order from top to bottom.
        shape: of the largest matrix.
        norm: of the colours.
        height: of the panels, in inches.
        **bar: of the colour bar.
    """
    for axis, ours in zip(axes, matrices, strict=True):
        image = stack(axis, ours, repairs, shape, norm)
    for axis in axes[1:]:
        axis.set_yticklabels([])
    drawn = axes[0].figure.colorbar(image, ax=axes, aspect=11 * height, pad=0.01, **bar)
    drawn.outline.set_visible(False)
    return drawn


def stack(
    axis: Axes,
    matrices: Mapping[str, np.ndarray],
    repairs: Sequence[str],
    shape: tuple[int, int],
    norm: Normalize,
) -> AxesImage:
    """Draw the matrices, each up to ``shape``, below one another in the order of the repairs.

    What is missing, a value or a repair, is grey.
    """
    rows, columns = shape
    gap = max(1, round(0.06 * rows))
    image = np.full((len(repairs) * (rows + gap) - gap, columns), np.nan)
    for number, repair in enumerate(repairs):
        if repair in matrices:
            matrix, top = matrices[repair], number * (rows + gap)
            image[top : top + matrix.shape[0], : matrix.shape[1]] = matrix
    axis.grid(visible=False)
    axis.set_facecolor(NOTHING)
    shown = axis.imshow(
        np.ma.masked_invalid(image),
        aspect="auto",
        interpolation="nearest",
        cmap=SEQUENTIAL,
        norm=norm,
    )
    for number in range(1, len(repairs)):
        end = number * (rows + gap) - 0.5
        axis.axhspan(end - gap, end, color="white", linewidth=0)
    middles = [number * (rows + gap) + (rows - 1) / 2 for number in range(len(repairs))]
    axis.set_yticks(middles, repairs)
    axis.tick_params(left=False)
    axis.spines[:].set_visible(False)
    return shown
