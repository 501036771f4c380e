"""Selection of the weights with the lowest scores."""

import torch
from torch import Tensor

from baselines.pruning.pattern import Pattern


def lowest(scores: Tensor, count: int) -> Tensor:
    """Mask of exactly the ``count`` lowest scores along the last dimension, ties by lower index.

    Args:
        scores: Any shape.
        count: How many to select, from 0 to the length of the last dimension.

    Returns:
        Boolean tensor of the shape of ``scores``, True where selected.
    """
    if count == 0:
        return torch.zeros_like(scores, dtype=torch.bool)
    # A selection, not a sort: several times faster. topk leaves ties open, hence only its bound
    # is used. (kthvalue would do, but CUDA refuses it under deterministic algorithms.)
    bound = scores.topk(count, largest=False, sorted=False).values.amax(-1, keepdim=True)
    below = scores < bound
    tied = scores == bound
    room = count - below.sum(-1, keepdim=True)
    return below | (tied & (tied.cumsum(-1, dtype=torch.int32) <= room))


def lowest_by(pattern: Pattern, scores: Tensor) -> Tensor:
    """Mask of the lowest scores: of all together, or of each run of ``m`` consecutive inputs.

    Args:
        pattern: Which fraction is selected, or N of M.
        scores: Shape (outputs, inputs), inputs divisible by ``pattern.m``.

    Returns:
        Boolean tensor of the shape of ``scores``, True where selected; ties by lower index.
    """
    if pattern.m is None:
        return lowest(scores.flatten(), pattern.count(scores.numel())).view_as(scores)
    return lowest(scores.unflatten(-1, (-1, pattern.m)), pattern.n).flatten(-2)
