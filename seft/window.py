"""The dense gradient of a layer over the steps before it evolves."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, distributed

from seft.topology import Topology


class Means(NamedTuple):
    """What a window has seen.

    Attributes:
        positions: the candidates of all ranks, ascending, (c,); None: all m * n entries.
        gradient: mean gradient of the micro-batches of all ranks, (c,) or (m * n,).
        square: mean square of a micro-batch's gradient, likewise; None if squares were not summed.
        micro_batches: s, number of micro-batches, as a mean over the ranks.
    """

    positions: Tensor | None
    gradient: Tensor
    square: Tensor | None
    micro_batches: float

    def places(self, indices: Tensor) -> Tensor:
        """Where the means of some entries of the layer are."""
        if self.positions is None:
            return indices.long()
        return torch.searchsorted(self.positions, indices)


class Window:
    """Sums a layer's dense gradient over micro-batches; of all entries, or of candidates alone.

    A micro-batch's gradient is what its backward pass brings, before any clipping, as in SpIEL's
    public code: where the loss is divided among the micro-batches of a step (as the Trainer does),
    so is the gradient.

    Args:
        opened: number of the optimizer step after which it begins.

    Attributes:
        choose: chooses candidate positions from the first gradient, (m * n,), that is finite and
            not zero everywhere; zero is that of a micro-batch of which no token counts, or none
            reaches an expert. None: all entries.
        squares: whether the squares of the gradients are summed too.
        count: micro-batches seen.
        total, square: the sums, float32, (m * n,) or (c,), or None.
    """

    def __init__(self, opened: int):
        self.opened = opened
        self.choose: Callable[[Tensor], Tensor] | None = None
        self.squares = False
        self.count = 0
        self.steps: Tensor | None = None
        self.total: Tensor | None = None
        self.square: Tensor | None = None

    @property
    def positions(self) -> Tensor | None:
        """Flat positions of the candidates, ascending, (c,), or None.

        What is held are the steps from each to the next, in two bytes where that will do.
        """
        if self.steps is None:
            return None
        return self.steps.to(self.index).cumsum(0, dtype=self.index)

    @positions.setter
    def positions(self, positions: Tensor):
        steps = positions.diff(prepend=positions.new_zeros(1))
        narrow = not (steps > torch.iinfo(torch.uint16).max).any()
        self.steps, self.index = steps.to(torch.uint16) if narrow else steps, positions.dtype

    def add(self, gradient: Tensor):
        """Add one micro-batch's dense gradient, (m, n)."""
        self.count += 1
        gradient = gradient.view(-1)
        if self.choose is not None and self.steps is None:
            if not _tells(gradient):
                return
            self.positions = self.choose(gradient)
        if self.steps is not None:
            gradient = gradient.index_select(0, self.positions)
        if self.total is None:
            self.total = gradient.to(torch.float32, copy=True)
            self.square = self.total**2 if self.squares else None
            return
        self.total += gradient
        if self.squares:
            self.square += gradient.float() ** 2

    def move(self, device: torch.device):
        """Hold on to the sums on another device."""
        for name in ("steps", "total", "square"):
            values = getattr(self, name)
            setattr(self, name, None if values is None else values.to(device))

    def state_dict(self) -> dict[str, Tensor]:
        """The tensors there are so far, by name; none before the first micro-batch."""
        if not self.count:
            return {}
        state = {"positions": self.positions, "total": self.total, "square": self.square}
        state = {name: values for name, values in state.items() if values is not None}
        numbers = {name: torch.tensor(getattr(self, name)) for name in ("opened", "count")}
        return numbers | state

    @classmethod
    def from_state_dict(cls, state: dict[str, Tensor]) -> "Window":
        """The window that gave `state`, but for `choose` and `squares`."""
        window = cls(int(state["opened"]))
        window.count = int(state["count"])
        for name in state.keys() - {"opened", "count"}:
            setattr(window, name, state[name])
        return window

    def means(self, weight: Tensor, topology: Topology) -> Means | None:
        """Turn the sums into means over the micro-batches of all ranks; end the window.

        Args:
            weight: the layer's, (m, n).
            topology: the layer's.

        Returns:
            The means; None if no gradient but zeros arrived, or the sums are not finite (float16
            overflowed: the optimizer step was skipped too).
        """
        positions = self.positions
        if self.choose is not None and positions is None:
            positions = topology.indices[:0]
        if positions is not None and in_parallel():
            # Other ranks may have other candidates.
            positions = union(positions)
        if self.total is None:
            # Zeros, at whatever positions the other ranks have chosen.
            entries = weight.numel() if positions is None else len(positions)
            self.total = torch.zeros(entries, device=weight.device)
            self.square = self.total.clone() if self.squares else None
            if positions is not None:
                self.positions = positions
        total, square = self.total, self.square
        seen = measured = torch.tensor(float(self.count), device=weight.device)
        ranks = 1
        if in_parallel():
            ranks = distributed.get_world_size()
            if positions is not None:
                measured = self._over_ranks(seen.expand_as(total), positions)
            total = self._over_ranks(total, positions)
            square = self._over_ranks(square, positions) if self.squares else None
            distributed.all_reduce(seen)
        if not _tells(total):
            return None
        total.div_(measured)
        if square is not None:
            square.div_(measured)
        return Means(positions, total, square, float(seen) / ranks)

    def _over_ranks(self, values: Tensor, positions: Tensor | None) -> Tensor:
        """The sum of `values` over all ranks, (m * n,) or at `positions`, (c,)."""
        if positions is not None:
            own, values = values, torch.zeros(len(positions), device=values.device)
            values[torch.searchsorted(positions, self.positions)] = own
        distributed.all_reduce(values)
        return values


def _tells(values: Tensor) -> bool:
    """Whether a gradient is finite and not zero everywhere."""
    if not len(values):
        return False
    bounds = torch.stack(values.aminmax())
    return bool(bounds.isfinite().all() and bounds.any())


def in_parallel() -> bool:
    """Whether several processes train together."""
    return distributed.is_available() and distributed.is_initialized()


def union(positions: Tensor) -> Tensor:
    """The positions of all ranks, ascending."""
    ranks = range(distributed.get_world_size())
    count = torch.tensor(len(positions), device=positions.device)
    counts = [torch.empty_like(count) for _ in ranks]
    distributed.all_gather(counts, count)
    padded = positions.new_full((int(max(counts)),), -1)
    padded[: len(positions)] = positions
    gathered = [torch.empty_like(padded) for _ in ranks]
    distributed.all_gather(gathered, padded)
    found = torch.cat(gathered).unique()
    return found[found >= 0]
