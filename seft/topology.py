"""One evolution of a layer's active entries: drop, grow, adapt. Plain tensors, no module."""

import random
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

# Prime, so that a sample does not run along the columns of a weight.
SAMPLING_STRIDE = 61
# Stands above every score. Finite, so that its product with 0 is 0.
LARGEST = torch.finfo(torch.float32).max
# A gradient that was not measured.
UNKNOWN = LARGEST


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
        preference: what growth prefers, (m * n,), not negative; changed. None: the |gradient|.
    """
    live = weight.view(-1)
    indices, base, removed, removed_base = topology
    indices, removed = indices.long(), removed.long()
    size = group or len(live)

    def among(positions: Tensor, others: Tensor) -> Tensor:
        """Which of `positions` are among `others`."""
        marks = torch.zeros_like(live, dtype=torch.bool)
        marks[others] = True
        return marks[positions]

    def count(*positions: Tensor) -> Tensor:
        """Number of positions in each group whose mask keeps its size."""
        return torch.bincount(torch.cat(positions) // size, minlength=len(live) // size)

    # Drop.
    weakest = lowest(delta.abs(), drop)
    stays = torch.ones_like(indices, dtype=torch.bool)
    stays[weakest] = False

    # Grow. What is excluded scores below all else: there is always enough that is not.
    if preference is None:
        preference = gradient.abs()
        preference[preference == UNKNOWN] = -1
    preference[indices[stays]] = -1
    if mask == "fixed":
        # Arithmetic, for filling under a random mask is several times slower.
        outside = (live == 0).float()
        outside[indices] = 0
        preference -= LARGEST * outside
    wanted = len(delta) - int(stays.sum())
    chosen = highest(preference, wanted)
    fresh = ~among(chosen, indices)
    if group:
        # A group makes room for at most as many grown entries as it has structural ones.
        room = count(live.nonzero().view(-1), indices[live[indices] == 0])
        allowed = preference.clone()
        while True:
            new = chosen[fresh]
            surplus = new[rank_in_group(-allowed[new], new // size) >= room[new // size]]
            if not len(surplus):
                break
            allowed[surplus] = -1
            chosen = highest(allowed, wanted)
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
            sensitivity = (live.float() * gradient).abs_()
            sensitivity += LARGEST * (live == 0).float()
            sensitivity[active] = (live[active] * gradient[active]).abs()
            sensitivity[grown] = torch.inf
            if group:
                rows = (excess > 0).nonzero()
                members = (rows * size + torch.arange(size, device=live.device)).view(-1)
                rank = rank_in_group(sensitivity[members], members // size)
                out = members[rank < excess[members // size]]
            else:
                out = lowest(sensitivity, int(excess))
            leaves = among(active, out)
            idle = out[~among(out, active)]
            # An active entry without a base weight has nothing to come back to.
            based = leaves & (active_base != 0)
            removed = torch.cat([removed, idle, active[based]])
            removed_base = torch.cat([removed_base, live[idle], active_base[based]])
            live[out] = 0
            slots, active, active_base = slots[~leaves], active[~leaves], active_base[~leaves]
        if (excess < 0).any():
            sensitivity = (removed_base * gradient[removed]).abs()
            sensitivity[among(removed, torch.cat([active, grown]))] = -1
            rank = rank_in_group(-sensitivity, removed // size)
            returns = rank < -excess[removed // size]
            back = removed[returns]
            live[back] = removed_base[returns]
            removed, removed_base = removed[~returns], removed_base[~returns]
        vacant = len(delta) - len(active) - len(grown)
        if vacant:
            preference -= LARGEST * (live == 0).float()
            preference[torch.cat([active, grown])] = -1
            grown = torch.cat([grown, highest(preference, vacant)])
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


def highest(score: Tensor, count: int) -> Tensor:
    """Ascending positions of the `count` largest entries of a flat tensor; ties: lower first.

    All positions if there are fewer.
    """
    sample = score[::SAMPLING_STRIDE]
    rank = 16 + 3 * count // (2 * SAMPLING_STRIDE)
    if 4 * rank < len(sample):
        # Most entries are far too small: what exceeds a quantile of a sample holds the largest.
        likely = (score >= sample.topk(rank).values[-1]).nonzero().view(-1)
        if len(likely) >= count:
            return likely[_highest(score[likely], count)]
    return _highest(score, count)


def _highest(score: Tensor, count: int) -> Tensor:
    if count == 0 or count >= len(score):
        return torch.arange(min(count, len(score)), device=score.device)
    cut = score.kthvalue(len(score) - count + 1).values
    taken = score > cut
    equal = (score == cut).nonzero().view(-1)
    taken[equal[: count - int(taken.sum())]] = True
    return taken.nonzero().view(-1)


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
