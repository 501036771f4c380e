"""Which entries of a layer an evolution may need the gradient of."""

import torch
from torch import Tensor

from seft.selection import about
from seft.storage import positions_of
from seft.topology import Topology


def candidates(
    gradient: Tensor,
    weight: Tensor,
    topology: Topology,
    count: int,
    mask: str,
    preference: Tensor | None = None,
) -> Tensor:
    """Positions an evolution may need the gradient of, ascending, judged by one micro-batch.

    Those are the active and the removed entries, about the `count` best to grow and, where the mask
    adapts, as many of the least sensitive to remove as lie outside it of these. "About" is at least
    four fifths, so that of a `count` of three times the deltas more than the deltas lie inside the
    mask: enough for any evolution to grow, to remove and to refill.

    Args:
        gradient: the micro-batch's dense gradient, (m * n,).
        weight: live weight, (m, n).
        topology: the layer's topology.
        count: number of candidates to grow.
        mask: as in `SeftConfig`.
        preference: what growth prefers, (m * n,). None: the |gradient|.
    """
    live = weight.view(-1)
    inside = live.bool()

    def preferred(where: slice) -> Tensor:
        return gradient[where].float().abs() if preference is None else preference[where]

    def insensitive(where: slice) -> Tensor:
        return (live[where].float() * gradient[where].float()).abs_().neg_()

    chosen = about(preferred, count, inside if mask == "fixed" else torch.ones_like(inside))
    if mask == "evolve":
        # Each that grows outside the mask is one more to be removed.
        outside = int((chosen & ~inside).sum())
        chosen |= about(insensitive, outside, inside)
    chosen[topology.indices] = True
    chosen[topology.removed] = True
    return positions_of(chosen).to(topology.indices.dtype)
