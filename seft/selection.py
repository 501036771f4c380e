"""The largest of many scores, and their ranks. Ties go to the lower position."""

import itertools
import random
from collections.abc import Callable, Iterator
from math import gcd

import torch
from torch import Tensor

from seft.storage import positions_of

# About one score of so many is in a sample.
SAMPLING_STRIDE = 61
# Below it, how many are above a quantile of a sample is chance.
SMALLEST_RANK = 16
# Scores that are made in one go: on a CPU what stays in its cache, on a GPU what keeps it busy.
# So no temporary tensor but flags is as large as the weight.
SPAN, SPAN_ON_GPU = 2**16, 2**22


Scores = Callable[[slice], Tensor]
"""The scores of a slice of the positions; NaN is never among the largest."""


def best(scores: Scores, count: int, eligible: Tensor) -> Tensor:
    """Ascending positions of the `count` largest of many scores; ties: lower first.

    All eligible positions if there are fewer.

    Args:
        scores: of the positions.
        count: how many.
        eligible: which positions may be chosen, bool, one entry a position.
    """
    stride = _stride(eligible)
    rank = 16 + 3 * count // (2 * stride)
    if 4 * rank * stride < len(eligible):
        # Most entries are far too small: what exceeds a quantile of a sample holds the largest.
        bound = _quantile(scores, rank, eligible)
        positions, found = _from(bound, scores, eligible)
        if len(positions) >= count:
            return positions[_highest(found, count)]
    positions, found = _from(-torch.inf, scores, eligible)
    return positions[_highest(found, count)]


def about(scores: Scores, count: int, eligible: Tensor) -> Tensor:
    """Which positions have about the `count` largest of many scores, in one pass over them; bool.

    Those are the ones above a quantile of a sample, if they are as many as asked but for a fifth.
    Where the sample says less, of few positions or of many equal scores, say, they are the
    positions of `best`.

    Args:
        scores: of the positions.
        count: how many.
        eligible: as in `best`.
    """
    stride = _stride(eligible)
    rank = count // stride
    flags = torch.zeros_like(eligible)
    if SMALLEST_RANK <= rank <= len(eligible) // stride:
        bound = _quantile(scores, rank, eligible)
        for span in _spans(eligible):
            flags[span] = _at_least(bound, scores(span), eligible[span])
        if abs(int(flags.sum()) - count) <= count // 5:
            return flags
        flags.zero_()
    flags[best(scores, count, eligible)] = True
    return flags


def _stride(eligible: Tensor) -> int:
    """From one position of a sample to the next.

    It has no factor with the number of positions in common, hence none with the width of a weight:
    a sample does not run along some of its columns, but has of each as many as of any other.
    """
    positions = max(1, len(eligible))
    return next(n for n in itertools.count(SAMPLING_STRIDE) if gcd(n, positions) == 1)


def _quantile(scores: Scores, rank: int, eligible: Tensor) -> float:
    """The score of a rank in a sample."""
    sample = slice(None, None, _stride(eligible))
    values = torch.where(eligible[sample], scores(sample), -torch.inf).nan_to_num_(nan=-torch.inf)
    return values.topk(rank).values[-1].item()


def _from(bound: float, scores: Scores, eligible: Tensor) -> tuple[Tensor, Tensor]:
    """The eligible positions whose score is at least `bound`, ascending, and their scores."""
    positions, found = [], []
    for span in _spans(eligible):
        values = scores(span)
        places = positions_of(_at_least(bound, values, eligible[span]))
        positions.append(places + span.start)
        found.append(values[places])
    return torch.cat(positions), torch.cat(found)


def _spans(values: Tensor) -> Iterator[slice]:
    step = SPAN_ON_GPU if values.is_cuda else SPAN
    return (slice(start, start + step) for start in range(0, len(values), step))


def _at_least(bound: float, score: Tensor, eligible: Tensor) -> Tensor:
    """Which eligible positions have a score of at least `bound`."""
    if score.is_cuda:
        return (score >= bound).logical_and_(eligible)
    # On a CPU, NumPy compares several times faster than torch.
    return torch.from_numpy((score.numpy() >= bound) & eligible.numpy())


def highest(score: Tensor, count: int) -> Tensor:
    """Ascending positions of the `count` largest entries of a flat tensor; ties: lower first.

    All positions if there are fewer.
    """
    return best(score.__getitem__, count, torch.ones_like(score, dtype=torch.bool))


def _highest(score: Tensor, count: int) -> Tensor:
    if count == 0 or count >= len(score):
        return torch.arange(min(count, len(score)), device=score.device)
    # Of topk only the bound: it leaves ties open. (CUDA refuses kthvalue where it is to be
    # deterministic.)
    cut = score.topk(count, sorted=False).values.amin().item()
    taken = positions_of(_at_least(cut, score, torch.ones_like(score, dtype=torch.bool)))
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
