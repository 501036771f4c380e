"""The trained layer: a linear layer whose gradient is taken at the active entries alone."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from seft.gradient import sampled_gradient, sampling_pays
from seft.selection import highest
from seft.storage import BitmaskLinear, autocasted, positions_of
from seft.topology import Topology
from seft.window import Window


class SeftLinear(nn.Linear):
    """A linear layer that trains k entries of its weight.

    `weight` holds the effective weight (base plus delta, in the model's dtype), so that the
    forward pass is that of `nn.Linear`; `delta`, float32 of length k, is the only parameter that
    trains. `write_back` brings `weight` up to date after `delta` has changed. Until the first
    positions are chosen there is no active entry, and the gradient of `delta` is zero.

    Args:
        linear: the layer to take the place of; its weight and bias are used, not copied, unless
            the weight is not contiguous.
        k: number of active entries.

    Attributes:
        window: gathers the dense gradient while it is open.
        has_evolver: whether an `Evolver` follows the training.
        disabled: whether the layer computes with its base's weight.
    """

    def __init__(self, linear: nn.Linear, k: int):
        # Not that of nn.Linear, which makes a weight.
        nn.Module.__init__(self)
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self._take_weight(linear)
        self.register_parameter("bias", linear.bias)
        self.train(linear.training)
        weight = self.weight.detach()
        self.delta = nn.Parameter(torch.zeros(k, dtype=torch.float32, device=weight.device))
        index = torch.int32 if weight.numel() <= torch.iinfo(torch.int32).max else torch.int64
        no_positions = torch.empty(0, dtype=index, device=weight.device)
        for name in Topology._fields:
            values = weight.new_empty(0) if "base" in name else no_positions.clone()
            self.register_buffer(name, values, persistent=False)
        self.fingerprint = _fingerprint(weight)
        self.window: Window | None = None
        self.has_evolver = False
        self.disabled = False

    def _apply(self, fn, recurse=True):
        """Moves the layer, or casts its base; `delta` stays in float32."""
        delta, dtype = self.delta.detach(), self.base.dtype
        super()._apply(fn, recurse)
        self.delta.data = delta.to(self.delta.device)
        if self.window is not None:
            self.window.move(self.delta.device)
        if self.base.dtype != dtype:
            self.fingerprint = _fingerprint(self.base_weight())
            there = self.removed_base != 0  # Where it was not too small for the type.
            self.removed, self.removed_base = self.removed[there], self.removed_base[there]
            self.write_back()
        return self

    def _take_weight(self, linear: nn.Linear):
        self.weight = linear.weight
        # Flat positions are of rows one after another.
        self.weight.data = self.weight.data.contiguous()

    @property
    def stored(self) -> tuple[Tensor, ...]:
        """The tensors that hold the weight."""
        return (self.weight,)

    @contextmanager
    def open_weight(self) -> Iterator[Tensor]:
        """The weight, (m, n), to be changed in place, with the topology that then belongs to it."""
        yield self.weight

    @property
    def budget(self) -> int:
        """z, the number of non-zero weights of the base."""
        return self.fingerprint[2]

    @property
    def topology(self) -> Topology:
        """Positions and base weights of the active and the removed entries."""
        return Topology(*(getattr(self, name) for name in Topology._fields))

    @topology.setter
    def topology(self, topology: Topology):
        for name, values in topology._asdict().items():
            setattr(self, name, values)

    @property
    def structural_entries(self) -> int:
        """|M|, the number of entries of the mask."""
        return self.budget - len(self.removed) + int((self.base == 0).sum())

    def forward(self, x: Tensor) -> Tensor:
        if self.disabled:
            return F.linear(x, self.base_weight(), self.bias)
        if not (torch.is_grad_enabled() and self.delta.requires_grad):
            return super().forward(x)
        return _TrainedLinear.apply(autocasted(x), self.delta, self)

    def gather(self, grad: Tensor, x: Tensor) -> Tensor:
        """The gradient of `delta`, (k,), float32; that of the whole weight goes to an open window.

        Args:
            grad: gradient of the output, (tokens, m).
            x: the input, (tokens, n).
        """
        chosen, window = len(self.indices) > 0, self.window
        if chosen and window is None and sampling_pays(grad, x, len(self.indices)):
            return sampled_gradient(grad, x, self.indices).float()
        # Before the first selection it is zeros, not None: data-parallel training waits for every
        # parameter's gradient.
        gradient = torch.zeros_like(self.delta)
        if chosen or window is not None:
            dense = grad.t() @ x
            if chosen:
                gradient = dense.view(-1).index_select(0, self.indices).float()
            if window is not None:
                window.add(dense)
        return gradient

    @torch.no_grad()
    def write_back(self):
        """Write base + delta into the active entries of `weight`, rounded to its dtype."""
        if len(self.indices):
            values = (self.base + self.delta).to(self.weight.dtype)
            self.weight.view(-1)[self.indices] = values

    @torch.no_grad()
    def base_weight(self) -> Tensor:
        """A copy of the base's weight, (m, n)."""
        return self._with_base(self.weight.clone())

    def _with_base(self, weight: Tensor) -> Tensor:
        live = weight.view(-1)
        live[self.indices] = self.base
        live[self.removed] = self.removed_base
        return weight

    @torch.no_grad()
    def restore_base(self):
        """Give every entry of `weight` its base value, and forget positions and deltas."""
        with self.open_weight() as weight:
            self._with_base(weight)
            self.topology = Topology(*(values[:0] for values in self.topology))
            self.delta.zero_()

    @torch.no_grad()
    def load(self, indices: Tensor, delta: Tensor, removed: Tensor):
        """Take up saved positions and deltas, whatever the layer held before."""
        self.restore_base()
        indices, removed = indices.to(self.indices), removed.to(self.indices)
        with self.open_weight() as weight:
            live = weight.view(-1)
            removed_base = live[removed]
            live[removed] = 0
            self.topology = Topology(indices, live[indices], removed, removed_base)
            self.delta.copy_(delta)
        self.write_back()

    @torch.no_grad()
    def choose(self, scores: Tensor):
        """Make the k positions of the mask with the highest of `scores`, (m * n,), active."""
        with self.open_weight() as weight:
            live = weight.view(-1)
            scores[live == 0] = -1
            indices = highest(scores, len(self.delta))
            self.indices, self.base = indices.to(self.indices.dtype), live[indices]

    @property
    def overlap(self) -> float:
        """Fraction of the base's mask that is in the mask now."""
        if not len(self.removed):
            return 1.0
        places = torch.searchsorted(self.indices, self.removed).clamp_(max=len(self.indices) - 1)
        lost = self.indices[places] != self.removed
        return 1 - int(lost.sum()) / self.budget

    @property
    def sparsity(self) -> float:
        """Fraction of entries outside the mask."""
        return 1 - self.structural_entries / (self.in_features * self.out_features)


class BitmaskSeftLinear(SeftLinear):
    """The same with the effective weight kept as a `seft.storage.Bitmask`.

    Under the mask are the structural entries; where adaptation keeps their number, the memory they
    take never changes. The weight is unpacked in forward, in backward, and for an evolution.

    Args:
        linear: the layer to take the place of; its packed weight is used, not copied.
        k: number of active entries.

    Attributes:
        slots: of each active entry its place among the packed values, (k,).
    """

    weight = BitmaskLinear.weight

    def _take_weight(self, linear: BitmaskLinear):
        self.packed = linear.packed
        self.register_buffer("slots", linear.packed.offsets[:0], persistent=False)

    @property
    def stored(self) -> tuple[Tensor, ...]:
        return tuple(self.packed.buffers())

    @contextmanager
    def open_weight(self) -> Iterator[Tensor]:
        weight = self.weight
        yield weight
        # An active entry that is zero has a value too: the next step changes it.
        active = torch.zeros_like(weight, dtype=torch.bool)
        active.view(-1)[self.indices] = True
        mask = weight.bool().logical_or_(active)
        positions = self.packed.pack(weight, mask)
        slots = positions_of(active.view(-1).index_select(0, positions))
        self.slots = slots.to(self.packed.offsets.dtype)

    @torch.no_grad()
    def write_back(self):
        if len(self.indices):
            values = self.packed.values
            values[self.slots] = (self.base + self.delta).to(values.dtype)


def seft_linear(linear: nn.Linear, k: int) -> SeftLinear:
    """The trained layer that takes the place of a plain or of a packed one."""
    kind = BitmaskSeftLinear if isinstance(linear, BitmaskLinear) else SeftLinear
    return kind(linear, k)


def _fingerprint(weight: Tensor) -> tuple[int, ...]:
    """Values that tell a base's weight, (m, n), from another's."""
    return (*weight.shape, int(weight.count_nonzero()), *_sums_of_bits(weight))


def _sums_of_bits(weight: Tensor) -> tuple[int, int]:
    """Sums of the bits of a weight's entries, (m, n), as they are and times their flat positions.

    Of integers, so that the order in which a device sums is no matter; modulo 2^64. A negative zero
    counts as zero, which packing makes of it.
    """
    bits = (weight.float() + 0).view(torch.int32)
    rows, columns = (bits.sum(dim, dtype=torch.int64) for dim in (1, 0))
    row, column = (torch.arange(size, device=weight.device) for size in weight.shape)
    placed = (rows * row).sum() * len(columns) + (columns * column).sum()
    return int(rows.sum()), int(placed)


class _TrainedLinear(torch.autograd.Function):
    """y = x weight^T + bias, with the weight's gradient gathered at the active entries."""

    @staticmethod
    def forward(ctx, x, delta, layer):
        # The weight's tensors are saved so that autograd notices if they change before backward.
        ctx.save_for_backward(x, *layer.stored)
        ctx.layer = layer
        bias = layer.bias
        return F.linear(x, layer.weight.to(x.dtype), None if bias is None else bias.to(x.dtype))

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        x, *_ = ctx.saved_tensors
        layer, shape = ctx.layer, x.shape
        if layer.training and not layer.has_evolver:
            raise RuntimeError(
                "a SEFT model trains with an Evolver: give the Trainer a SeftCallback(), or "
                "call Evolver.step after every optimizer step"
            )
        grad, x = grad.reshape(-1, grad.shape[-1]), x.reshape(-1, shape[-1])
        grad_x = grad_delta = None
        if ctx.needs_input_grad[0]:
            grad_x = (grad @ layer.weight.to(grad.dtype)).view(shape)
        if ctx.needs_input_grad[1]:
            grad_delta = layer.gather(grad, x)
        return grad_x, grad_delta, None
