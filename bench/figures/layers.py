"""Heat maps of layers, one below the other for each repair."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colorbar import Colorbar
from matplotlib.colors import Normalize

SEQUENTIAL = "cividis"
NOTHING = "#e8e8e8"


def heat_maps(
    axes: Sequence[Axes],
    pruners: Sequence[str],
    repairs: Sequence[str],
    matrices: Mapping[tuple[str, str], np.ndarray],
    norm: Normalize,
    *,
    height: float,
    **bar,
) -> Colorbar:
    """Draw a row of panels, and their colour bar.

    In each a pruner's matrices are below one another in the order of the repairs. What is missing,
    a value or a repair, is grey.

    Args:
        axes: the panels, from left to right.
        pruners: of the panels.
        repairs: in the order from top to bottom.
        matrices: by pruner and repair.
        norm: of the colours.
        height: of the panels, in inches.
        **bar: of the colour bar.
    """
    rows, columns = np.max([matrix.shape for matrix in matrices.values()], axis=0)
    gap = max(1, round(0.06 * rows))
    tops = [number * (rows + gap) for number in range(len(repairs))]
    for axis, pruner in zip(axes, pruners, strict=True):
        image = np.full((tops[-1] + rows, columns), np.nan)
        for top, repair in zip(tops, repairs, strict=True):
            if (pruner, repair) in matrices:
                high, wide = matrices[pruner, repair].shape
                image[top : top + high, :wide] = matrices[pruner, repair]
        axis.grid(visible=False)
        axis.set_facecolor(NOTHING)
        shown = axis.imshow(
            np.ma.masked_invalid(image),
            aspect="auto",
            interpolation="nearest",
            cmap=SEQUENTIAL,
            norm=norm,
        )
        for top in tops[1:]:
            axis.axhspan(top - 0.5 - gap, top - 0.5, color="white", linewidth=0)
        axis.set_yticks([top + (rows - 1) / 2 for top in tops], repairs)
        axis.tick_params(left=False)
        axis.spines[:].set_visible(False)
    for axis in axes[1:]:
        axis.set_yticklabels([])
    drawn = axes[0].figure.colorbar(shown, ax=axes, aspect=11 * height, pad=0.01, **bar)
    drawn.outline.set_visible(False)
    return drawn
