"""One evolution of a layer's active entries: drop, grow, adapt. Plain tensors, no module."""

from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor

from seft.selection import best, highest, rank_in_group
from seft.storage import positions_of


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

    def within(self, positions: Tensor) -> "Topology":
        """The same, positions being places among others, ascending, that hold them all."""
        return self._replace(
            indices=torch.searchsorted(positions, self.indices),
            removed=torch.searchsorted(positions, self.removed),
        )

    def of(self, positions: Tensor) -> "Topology":
        """The same, places among some positions being these positions."""
        return self._replace(indices=positions[self.indices], removed=positions[self.removed])


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
    positions: Tensor | None = None,
) -> Evolution:
    """Drop the weakest active entries, grow others, adapt the mask; ties go to the lower position.

    A position that is dropped and at once chosen for growth is left untouched: it counts neither
    as dropped nor as grown. A slot that adaptation refills starts afresh.

    Args:
        weight: live effective weight, (m, n), contiguous; changed in place.
        topology: current topology; without active entries, all k = len(delta) of them grow.
        delta: current delta, (k,).
        gradient: mean gradient over the window, (m * n,), or (c,) at `positions`, float32.
        drop: number of active entries to drop.
        mask: "evolve" (growth anywhere, then adaptation), "fixed" (growth inside the mask) or
            "free" (growth anywhere, no adaptation).
        group: M, with mask "evolve": every group of M consecutive inputs of a row keeps its
            number of structural entries. None: the layer keeps its own.
        preference: what growth prefers, as long as `gradient`. None: the |gradient|.
        positions: c candidates, ascending, the active and the removed entries among them: no other
            entry is looked at, so none grows or is removed; not with `group`. None: all entries.
    """
    if positions is not None:
        live = weight.view(-1)[positions]
        args = (topology.within(positions), delta, gradient, drop, mask, group, preference)
        evolution = evolve(live, *args)
        weight.view(-1)[positions] = live
        return replace(evolution, topology=evolution.topology.of(positions))
    layer = _Layer(weight.view(-1), topology, len(delta), gradient, preference, group)
    layer.drop(highest(-delta.abs(), drop))
    layer.grow(inside=mask == "fixed")
    if mask == "evolve":
        layer.adapt()
    return layer.evolution()


class _Layer:
    """A layer in the middle of an evolution.

    Attributes:
        live: effective weight, (m * n,).
        indices, base, removed, removed_base: as in `Topology`.
        slots: which of `indices` stay active, ascending.
        staying: their positions.
        grown: positions of entries that start afresh.
        dropped, out, back: numbers of entries dropped, removed from the mask and brought back.
    """

    def __init__(
        self,
        live: Tensor,
        topology: Topology,
        k: int,
        gradient: Tensor,
        preference: Tensor | None,
        group: int | None,
    ):
        self.live, self.k, self.group = live, k, group
        self.gradient, self.preference = gradient, preference
        self.indices, self.base, self.removed, self.removed_base = topology
        self.index = self.indices.dtype
        self.indices, self.removed = self.indices.long(), self.removed.long()
        self.effective = live[self.indices]
        self.grown = self.indices[:0]
        self.dropped = self.out = self.back = 0
        self.marks = torch.zeros_like(live, dtype=torch.bool)
        self._stay(torch.arange(len(self.indices), device=live.device))

    def drop(self, weakest: Tensor):
        """Step 1 of the method: the weakest entries take their base weights again.

        One that has none leaves the mask.
        """
        stays = torch.ones_like(self.indices, dtype=torch.bool)
        stays[weakest] = False
        self._stay(positions_of(stays))
        self.live[self.indices[weakest]] = self.base[weakest]

    def grow(self, inside: bool):
        """Step 2: the preferred of the other positions, or of those inside the mask, are active.

        They start from the effective weight, so nothing changes. One that has just been dropped is
        left as it was.
        """
        eligible = self.live.bool() if inside else ~self.marks
        eligible[self.staying] = False
        chosen = best(self._preferred, self._vacant, eligible)
        if self.group:
            room = self._room()
            while len(surplus := self._surplus(chosen, room)):
                eligible[surplus] = False
                chosen = best(self._preferred, self._vacant, eligible)
        self.grown = chosen[~self._among(chosen, self.indices)]
        again = self._among(self.indices, chosen)
        self.live[self.indices[again]] = self.effective[again]
        again[self.slots] = True
        self._stay(positions_of(again))
        self.dropped = len(self.indices) - len(self.slots)

    def adapt(self):
        """Step 3: the mask, of the layer or of each group, gets its number of entries again.

        Active entries that leave it make room for the preferred positions inside.
        """
        excess = self._excess()
        if (excess > 0).any():
            self._remove(excess)
        if (excess < 0).any():
            self._bring_back(-excess)
        if self._vacant:
            eligible = self.live.bool()
            eligible[self.staying] = eligible[self.grown] = False
            self.grown = torch.cat([self.grown, best(self._preferred, self._vacant, eligible)])

    def evolution(self) -> Evolution:
        """What has happened."""
        slots, grown_base = self.slots, self.live[self.grown]
        indices, order = torch.cat([self.staying, self.grown]).sort(stable=True)
        removed, removed_order = self.removed.sort(stable=True)
        return Evolution(
            topology=Topology(
                indices.to(self.index),
                torch.cat([self.base[slots], grown_base])[order],
                removed.to(self.index),
                self.removed_base[removed_order],
            ),
            origin=torch.cat([slots, torch.full_like(self.grown, -1)])[order],
            dropped=self.dropped,
            grown=len(self.grown),
            reactivated=int((grown_base == 0).sum()),
            removed=self.out,
            restored=self.back,
        )

    def _remove(self, excess: Tensor):
        """Set the least sensitive weights of the mask to zero; grown ones stay."""
        eligible = self.live.bool()
        eligible[self.staying] = True
        eligible[self.grown] = False
        if self.group:
            inside = torch.arange(self.group, device=excess.device)
            inside = ((excess > 0).nonzero() * self.group + inside).view(-1)
            inside = inside[eligible[inside]]
            group = inside // self.group
            out = inside[rank_in_group(self._sensitivity(inside), group) < excess[group]]
        else:
            out = best(lambda span: self._sensitivity(span).neg_(), int(excess), eligible)
        leaves = self._among(self.staying, out)
        self.live[self.staying[leaves]] = self.base[self.slots[leaves]]
        self._stay(self.slots[~leaves])
        # An active entry without a base weight has none to bring back.
        lost = out[self.live[out] != 0]
        self.removed = torch.cat([self.removed, lost])
        self.removed_base = torch.cat([self.removed_base, self.live[lost]])
        self.live[out] = 0
        self.out = len(out)

    def _bring_back(self, missing: Tensor):
        """Give the most sensitive of the removed entries their base weights again."""
        sensitivity = (self.removed_base * self.gradient[self.removed]).abs()
        active = torch.cat([self.staying, self.grown])
        sensitivity[self._among(self.removed, active)] = -1
        group = self.removed // (self.group or len(self.live))
        back = rank_in_group(-sensitivity, group) < missing[group]
        self.live[self.removed[back]] = self.removed_base[back]
        self.removed, self.removed_base = self.removed[~back], self.removed_base[~back]
        self.back = int(back.sum())

    def _stay(self, slots: Tensor):
        """Let the entries of some slots, and no others, stay active."""
        self.slots, self.staying = slots, self.indices[slots]

    @property
    def _vacant(self) -> int:
        """Number of entries without a position."""
        return self.k - len(self.slots) - len(self.grown)

    def _preferred(self, where: slice | Tensor) -> Tensor:
        """How much growth prefers some positions."""
        return self.gradient[where].abs() if self.preference is None else self.preference[where]

    def _sensitivity(self, where: slice | Tensor) -> Tensor:
        """How much the loss depends on the weights of some positions being there."""
        return (self.live[where].float() * self.gradient[where]).abs_()

    def _excess(self) -> Tensor:
        """By how many entries the mask, of the layer or of each group, is larger than it was.

        Every active entry without a base weight is one more than the base has, and every removed
        base weight one less.
        """
        reactivated = self.staying[self.base[self.slots] == 0]
        grown = self.grown[self.live[self.grown] == 0]
        return self._count(reactivated, grown) - self._count(self.removed)

    def _room(self) -> Tensor:
        """The number of entries that the mask of each group has to keep."""
        zero = self.staying[self.live[self.staying] == 0]
        return self._count(self.live.nonzero().view(-1), zero) - self._excess()

    def _surplus(self, chosen: Tensor, room: Tensor) -> Tensor:
        """Chosen positions that adaptation could make no room for in their group."""
        new = chosen[~self._among(chosen, self.indices)]
        group = new // self.group
        return new[rank_in_group(-self._preferred(new), group) >= room[group]]

    def _count(self, *positions: Tensor) -> Tensor:
        """Number of positions in the layer, (1,), or in each of its groups."""
        if not self.group:
            return torch.tensor([sum(map(len, positions))], device=self.live.device)
        groups = len(self.live) // self.group
        return torch.bincount(torch.cat(positions) // self.group, minlength=groups)

    def _among(self, positions: Tensor, others: Tensor) -> Tensor:
        """Which of some positions are among others."""
        self.marks.index_fill_(0, others, True)
        found = self.marks.index_select(0, positions)
        self.marks.index_fill_(0, others, False)
        return found
