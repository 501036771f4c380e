"""The dense gradient of a layer over the steps before it evolves."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, distributed

from seft.selection import best
from seft.storage import positions_of
from seft.topology import Topology


class Means(NamedTuple):
    """What a window has seen.

    Attributes:
        gradient: mean gradient of the micro-batches of all ranks, (m * n,); `UNKNOWN` where no
            rank measured it.
        square: mean square of a micro-batch's gradient, likewise; None if squares were not summed.
        micro_batches: s, number of micro-batches, as a mean over the ranks.
    """

    gradient: Tensor
    square: Tensor | None
    micro_batches: float


class Window:
    """Sums a layer's dense gradient over micro-batches; of all entries, or of candidates alone.

    A micro-batch's gradient is what its backward pass brings, before any clipping, as in SpIEL's
    public code: where the loss is divided among the micro-batches of a step (as the Trainer does),
    so is the gradient.

    Args:
        opened: number of the optimizer step after which it begins.
        choose: chooses candidate positions from the first micro-batch's gradient, (m * n,).
            None: all entries.
        squares: whether the squares of the gradients are summed too.

    Attributes:
        count: micro-batches seen.
        positions: flat positions of the candidates, (c,), or None.
        total, square: the sums, float32, (m * n,) or (c,), or None.
    """

    def __init__(
        self,
        opened: int,
        choose: Callable[[Tensor], Tensor] | None = None,
        squares: bool = False,
    ):
        self.opened, self.choose, self.squares = opened, choose, squares
        self.count = 0
        self.positions: Tensor | None = None
        self.total: Tensor | None = None
        self.square: Tensor | None = None

    def add(self, gradient: Tensor):
        """Add one micro-batch's dense gradient, (m, n)."""
        self.count += 1
        gradient = gradient.view(-1)
        if self.choose is not None and self.positions is None:
            self.positions = self.choose(gradient)
        if self.positions is not None:
            gradient = gradient[self.positions]
        if self.total is None:
            self.total = gradient.to(torch.float32, copy=True)
            self.square = self.total**2 if self.squares else None
            return
        self.total += gradient
        if self.squares:
            self.square += gradient.float() ** 2

    def state_dict(self) -> dict[str, Tensor]:
        """The tensors there are so far, by name; none before the first gradient."""
        if self.total is None:
            return {}
        state = {"positions": self.positions, "total": self.total, "square": self.square}
        state = {name: values for name, values in state.items() if values is not None}
        numbers = {name: torch.tensor(getattr(self, name)) for name in ("opened", "count")}
        return numbers | state

    @classmethod
    def from_state_dict(cls, state: dict[str, Tensor]) -> "Window":
        """The window that gave `state`."""
        window = cls(int(state["opened"]), squares="square" in state)
        window.count = int(state["count"])
        for name in state.keys() - {"opened", "count"}:
            setattr(window, name, state[name])
        return window

    def means(self, weight: Tensor) -> Means | None:
        """Turn the sums into means over the micro-batches of all ranks; end the window.

        Returns:
            The means; None if no gradient arrived, or one that is not finite (float16 overflowed:
            the optimizer step was skipped too).
        """
        if self.total is None:
            self.add(torch.zeros_like(weight))
            self.count = 0
        total = self._over_ranks(self.total, weight)
        square = self._over_ranks(self.square, weight) if self.squares else None
        seen = measured = torch.tensor(float(self.count), device=weight.device)
        if self.positions is not None:
            # Other ranks may have other candidates.
            measured = self._over_ranks(seen.expand_as(self.total), weight)
        if in_parallel():
            distributed.all_reduce(seen)
        bounds = torch.stack(total.aminmax())
        if not (bounds.isfinite().all() and bounds.any()):
            return None
        ranks = distributed.get_world_size() if in_parallel() else 1
        # 0 over 0 is `UNKNOWN`.
        total.div_(measured)
        if square is not None:
            square.div_(measured)
        return Means(total, square, float(seen) / ranks)

    def _over_ranks(self, values: Tensor, weight: Tensor) -> Tensor:
        """The sum of `values` over all ranks, (m * n,), 0 where there is none."""
        if self.positions is not None:
            dense = torch.zeros(weight.numel(), device=weight.device)
            dense[self.positions] = values
            values = dense
        if in_parallel():
            distributed.all_reduce(values)
        return values


def in_parallel() -> bool:
    """Whether several processes train together."""
    return distributed.is_available() and distributed.is_initialized()


def candidates(
    gradient: Tensor, weight: Tensor, topology: Topology, count: int, mask: str
) -> Tensor:
    """Positions an evolution may need the gradient of, ascending, judged by one micro-batch.

    Those are the active and the removed entries, the `count` best to grow and the `count` least
    sensitive to remove.

    Args:
        gradient: the micro-batch's dense gradient, (m * n,).
        weight: live weight, (m, n).
        topology: the layer's topology.
        count: number of candidates of each kind.
        mask: as in `SeftConfig`.
    """
    live = weight.view(-1)
    structural = live != 0
    anywhere = structural if mask == "fixed" else torch.ones_like(structural)

    def preference(span: slice) -> Tensor:
        return gradient[span].float().abs()

    def insensitivity(span: slice) -> Tensor:
        return (live[span].float() * gradient[span]).abs_().neg_()

    chosen = torch.zeros_like(structural)
    chosen[topology.indices] = True
    chosen[topology.removed] = True
    chosen[best(preference, count, anywhere)] = True
    chosen[best(insensitivity, count, structural)] = True
    return positions_of(chosen).to(topology.indices.dtype)
