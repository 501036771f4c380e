"""The largest of many scores, and their ranks. Ties go to the lower position."""

import random
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

# Prime, so that a sample does not run along the columns of a weight.
SAMPLING_STRIDE = 61
# Scores that are made in one go: on a CPU what stays in its cache, on a GPU what keeps it busy.
# So no temporary tensor but flags is as large as the weight.
SPAN, SPAN_ON_GPU = 2**16, 2**22


def best(score: Callable[[slice], Tensor], count: int, eligible: Tensor) -> Tensor:
    """Ascending positions of the `count` largest of many scores; ties: lower first.

    All eligible positions if there are fewer.

    Args:
        score: gives the scores of a slice of the positions; NaN is never among the largest.
        count: how many.
        eligible: which positions may be chosen, bool, one entry a position.
    """
    sample = slice(None, None, SAMPLING_STRIDE)
    rank = 16 + 3 * count // (2 * SAMPLING_STRIDE)
    if 4 * rank < len(eligible[sample]):
        # Most entries are far too small: what exceeds a quantile of a sample holds the largest.
        scores = torch.where(eligible[sample], score(sample), -torch.inf)
        bound = scores.nan_to_num_(nan=-torch.inf).topk(rank).values[-1].item()
        positions, scores = _from(bound, score, eligible)
        if len(positions) >= count:
            return positions[_highest(scores, count)]
    positions, scores = _from(-torch.inf, score, eligible)
    return positions[_highest(scores, count)]


def _from(
    bound: float, score: Callable[[slice], Tensor], eligible: Tensor
) -> tuple[Tensor, Tensor]:
    """The eligible positions whose score is at least `bound`, ascending, and their scores."""
    positions, scores = [], []
    step = SPAN_ON_GPU if eligible.is_cuda else SPAN
    for start in range(0, len(eligible), step):
        values = score(slice(start, start + step))
        found = _at_least(bound, values, eligible[start : start + step])
        positions.append(found + start)
        scores.append(values[found])
    return torch.cat(positions), torch.cat(scores)


def _at_least(bound: float, score: Tensor, eligible: Tensor) -> Tensor:
    if score.is_cuda:
        return (score >= bound).logical_and_(eligible).nonzero().view(-1)
    # On a CPU, NumPy compares and searches several times faster than torch.
    found = (score.numpy() >= bound) & eligible.numpy()
    return torch.from_numpy(np.flatnonzero(found))


def highest(score: Tensor, count: int) -> Tensor:
    """Ascending positions of the `count` largest entries of a flat tensor; ties: lower first.

    All positions if there are fewer.
    """
    return best(score.__getitem__, count, torch.ones_like(score, dtype=torch.bool))


def _highest(score: Tensor, count: int) -> Tensor:
    if count == 0 or count >= len(score):
        return torch.arange(min(count, len(score)), device=score.device)
    cut = score.kthvalue(len(score) - count + 1).values.item()
    taken = _at_least(cut, score, torch.ones_like(score, dtype=torch.bool))
    if surplus := len(taken) - count:
        equal = (score[taken] == cut).nonzero().view(-1)
        stays = torch.ones_like(taken, dtype=torch.bool)
        stays[equal[-surplus:]] = False
        taken = taken[stays]
    return taken


def rank_in_group(score: Tensor, group: Tensor) -> Tensor:
    """How many entries of the same group have a smaller score, or an equal one and come before."""
    order = score.argsort(stable=True)
    order = order[group[order].argsort(stable=True)]
    group = group[order]
    rank = torch.empty_like(order)
    rank[order] = torch.arange(len(order), device=order.device) - torch.searchsorted(group, group)
    return rank


def random_scores(weight: Tensor, seed: int, layer: str, step: int) -> Tensor:
    """Uniform scores for every position of a weight, (m * n,); the same on every device."""
    seed = random.Random(f"{seed} {layer} {step}").getrandbits(63)
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(weight.numel(), generator=generator).to(weight.device)
