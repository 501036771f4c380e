"""Which entries of a layer an evolution may need the gradient of."""

import torch
from torch import Tensor

from seft.selection import mark_best
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
    adapts, about the `count` least sensitive to remove.

    Args:
        gradient: the micro-batch's dense gradient, (m * n,).
        weight: live weight, (m, n).
        topology: the layer's topology.
        count: number of candidates of each kind.
        mask: as in `SeftConfig`.
        preference: what growth prefers, (m * n,). None: the |gradient|.
    """
    live = weight.view(-1)

    inside = live.bool()
    anywhere = inside if mask == "fixed" else torch.ones_like(inside)

    def preferred(where: slice) -> Tensor:
        return gradient[where].float().abs() if preference is None else preference[where]

    def insensitive(where: slice) -> Tensor:
        return (live[where].float() * gradient[where].float()).abs_().neg_()

    rankings = [(preferred, anywhere)]
    if mask == "evolve":
        rankings.append((insensitive, inside))
    marks = torch.zeros_like(inside)
    marks[topology.indices] = True
    marks[topology.removed] = True
    mark_best(rankings, count, marks)
    return positions_of(marks).to(topology.indices.dtype)
