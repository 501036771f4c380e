"""One evolution of a layer's active entries: drop, grow, adapt. Plain tensors, no module."""

import math
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

# Prime, so that a sample does not run along the columns of a weight.
SAMPLING_STRIDE = 61
# Scores that are made in one go: on a CPU what stays in its cache, on a GPU what keeps it busy.
# So no temporary tensor but flags is as large as the weight.
SPAN, SPAN_ON_GPU = 2**16, 2**22
# A gradient that was not measured: it compares with nothing, so it is never among the best.
UNKNOWN = math.nan


class Topology(NamedTuple):
    """Where a layer's delta lives, and what brings the base weights back.

    Positions are flat (row * n + column) and ascending. The structural mask M needs no storage of
    its own: every structural entry that is not active has its non-zero base weight, so M is the
    non-zeros of the live weight and the active entries.

    Attributes:
        indices: active positions, (k,), or (0,) before the first selection.
        base: base weight of each active entry, in the model's dtype; 0 for a reactivated one.
        removed: positions of base weights that adaptation removed, whether or not growth has
            taken them up again (then they are active with base 0).
        removed_base: their base weights.
    """

    indices: Tensor
    base: Tensor
    removed: Tensor
    removed_base: Tensor


@dataclass
class Evolution:
    """What one evolution did.

    Attributes:
        topology: the layer's new topology.
        origin: for each new active entry its slot before, or -1 for one that starts afresh, (k,).
        dropped, grown, reactivated, removed, restored: numbers of entries dropped; grown
            (refilled slots included); of the grown, those outside the mask; removed from the
            mask by adaptation; brought back by it.
    """

    topology: Topology
    origin: Tensor
    dropped: int
    grown: int
    reactivated: int
    removed: int
    restored: int


def evolve(
    weight: Tensor,
    topology: Topology,
    delta: Tensor,
    gradient: Tensor,
    drop: int,
    mask: str = "evolve",
    group: int | None = None,
    preference: Tensor | None = None,
) -> Evolution:
    """Drop the weakest active entries, grow others, adapt the mask; ties go to the lower position.

    A position that is dropped and at once chosen for growth is left untouched: it counts neither
    as dropped nor as grown. A slot that adaptation refills starts afresh.

    Args:
        weight: live effective weight, (m, n), contiguous; changed in place.
        topology: current topology; without active entries, all k = len(delta) of them grow.
        delta: current delta, (k,).
        gradient: mean dense gradient over the window, (m * n,), float32; `UNKNOWN` where it was
            not measured: such a position is neither grown by gradient nor removed.
        drop: number of active entries to drop.
        mask: "evolve" (growth anywhere, then adaptation), "fixed" (growth inside the mask) or
            "free" (growth anywhere, no adaptation).
        group: M, with mask "evolve": every group of M consecutive inputs of a row keeps its
            number of structural entries. None: the layer keeps its own.
        preference: what growth prefers, (m * n,). None: the |gradient|.
    """
    live = weight.view(-1)
    indices, base, removed, removed_base = topology
    indices, removed = indices.long(), removed.long()
    size = group or len(live)
    marks = torch.zeros_like(live, dtype=torch.bool)

    def among(positions: Tensor, others: Tensor) -> Tensor:
        """Which of `positions` are among `others`."""
        marks.index_fill_(0, others, True)
        found = marks.index_select(0, positions)
        marks.index_fill_(0, others, False)
        return found

    def count(*positions: Tensor) -> Tensor:
        """Number of positions in each group whose mask keeps its size."""
        if not group:
            return torch.tensor([sum(map(len, positions))], device=live.device)
        return torch.bincount(torch.cat(positions) // group, minlength=len(live) // group)

    def preferred(where: slice | Tensor) -> Tensor:
        return gradient[where].abs() if preference is None else preference[where]

    def sensitivity(where: slice | Tensor) -> Tensor:
        return (live[where].float() * gradient[where]).abs_()

    # Drop.
    weakest = lowest(delta.abs(), drop)
    stays = torch.ones_like(indices, dtype=torch.bool)
    stays[weakest] = False

    # Grow.
    eligible = live.bool().index_fill_(0, indices, True) if mask == "fixed" else ~marks
    eligible.index_fill_(0, indices[stays], False)
    wanted = len(delta) - int(stays.sum())
    chosen = best(preferred, wanted, eligible)
    fresh = ~among(chosen, indices)
    if group:
        # A group makes room for at most as many grown entries as it has structural ones.
        room = count(live.nonzero().view(-1), indices[live[indices] == 0])
        while True:
            new = chosen[fresh]
            surplus = new[rank_in_group(-preferred(new), new // group) >= room[new // group]]
            if not len(surplus):
                break
            eligible[surplus] = False
            chosen = best(preferred, wanted, eligible)
            fresh = ~among(chosen, indices)
    stays |= among(indices, chosen)
    gone, slots = indices[~stays], stays.nonzero().view(-1)
    live[gone] = base[~stays]
    active, active_base = indices[slots], base[slots]
    grown = chosen[fresh]
    grown_base = live[grown]

    # Adapt. Every active entry without a base weight is one more than the base had, and every
    # removed base weight one less.
    out = back = indices[:0]
    if mask == "evolve":
        excess = count(active[active_base == 0], grown[grown_base == 0]) - count(removed)
        if (excess > 0).any():
            eligible = live.bool().index_fill_(0, active, True).index_fill_(0, grown, False)
            if group:
                rows = (excess > 0).nonzero()
                members = (rows * group + torch.arange(group, device=live.device)).view(-1)
                members = members[eligible[members]]
                rank = rank_in_group(sensitivity(members), members // group)
                out = members[rank < excess[members // group]]
            else:
                out = best(lambda span: sensitivity(span).neg_(), int(excess), eligible)
            leaves = among(active, out)
            idle = out[~among(out, active)]
            # An active entry without a base weight has nothing to come back to.
            based = leaves & (active_base != 0)
            removed = torch.cat([removed, idle, active[based]])
            removed_base = torch.cat([removed_base, live[idle], active_base[based]])
            live[out] = 0
            slots, active, active_base = slots[~leaves], active[~leaves], active_base[~leaves]
        if (excess < 0).any():
            lost = (removed_base * gradient[removed]).abs()
            lost[among(removed, torch.cat([active, grown]))] = -1
            rank = rank_in_group(-lost, removed // size)
            returns = rank < -excess[removed // size]
            back = removed[returns]
            live[back] = removed_base[returns]
            removed, removed_base = removed[~returns], removed_base[~returns]
        vacant = len(delta) - len(active) - len(grown)
        if vacant:
            eligible = live.bool().index_fill_(0, torch.cat([active, grown]), False)
            grown = torch.cat([grown, best(preferred, vacant, eligible)])
            grown_base = live[grown]

    indices, order = torch.cat([active, grown]).sort()
    removed, removed_order = removed.sort()
    dtype = topology.indices.dtype
    return Evolution(
        topology=Topology(
            indices.to(dtype),
            torch.cat([active_base, grown_base])[order],
            removed.to(dtype),
            removed_base[removed_order],
        ),
        origin=torch.cat([slots, torch.full_like(grown, -1)])[order],
        dropped=len(gone),
        grown=len(grown),
        reactivated=int((grown_base == 0).sum()),
        removed=len(out),
        restored=len(back),
    )


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


def lowest(score: Tensor, count: int) -> Tensor:
    """Ascending positions of the `count` smallest entries of a flat tensor; ties: lower first."""
    return highest(-score, count)


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
