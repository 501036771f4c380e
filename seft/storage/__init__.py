"""Sparse weights as a bit mask and their values, unpacked one layer at a time."""

from collections.abc import Iterable
from functools import cache
from importlib.util import find_spec

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

STORAGES = ("dense", "bitmask")


class Bitmask(nn.Module):
    """A sparse matrix (m, n) as a bit mask and the values under it.

    Where a fraction d of the entries is under the mask, 16 d + 1 of 16 bits an entry are left of a
    matrix in bfloat16: at 60 % sparsity less than half.

    Args:
        weight: the matrix.
        mask: of the entries that are kept; None: of those that are not zero, so that a negative
            zero becomes zero.

    Attributes:
        columns: n.
        bits: the mask, uint8, (m, ceil(n / 8)); column 8 i + j is bit j of byte i.
        values: the values, row by row.
        offsets: number of values before each row, (m,), int32, or int64 where that is too small.
    """

    def __init__(self, weight: Tensor, mask: Tensor | None = None):
        super().__init__()
        self.columns = weight.shape[1]
        for name in ("bits", "values", "offsets"):
            self.register_buffer(name, weight.new_empty(0))
        self.pack(weight, weight.bool() if mask is None else mask)

    def pack(self, weight: Tensor, mask: Tensor) -> Tensor:
        """Hold the values of a matrix under a mask, both (m, n); return their flat positions."""
        place = 2 ** torch.arange(8, dtype=torch.uint8, device=mask.device)
        groups = F.pad(mask, (0, -self.columns % 8)).unflatten(1, (-1, 8))
        self.bits = (groups * place).sum(dim=2, dtype=torch.uint8)
        positions = positions_of(mask.flatten())
        self.values = weight.flatten().index_select(0, positions)
        rows = torch.arange(len(weight), device=weight.device) * self.columns
        small = len(positions) <= torch.iinfo(torch.int32).max
        self.offsets = torch.searchsorted(positions, rows, out_int32=small)
        return positions

    def unpack(self, values: Tensor | None = None) -> Tensor:
        """The matrix, made anew; of other values, in their dtype, where they are given."""
        unpack = unpacker(self.bits.device.type)
        values = self.values if values is None else values
        return unpack(self.bits, values, self.offsets, self.columns)

    def pick(self, weight: Tensor) -> Tensor:
        """What lies under the mask of a matrix, (m, n), in the order of the values."""
        positions = positions_of(mask_of(self.bits, self.columns).flatten())
        return weight.flatten().index_select(0, positions)


@cache
def unpacker(device: str):
    """What unpacks on a type of device: the Triton kernel on a GPU where there is Triton."""
    if device == "cuda" and find_spec("triton"):
        from seft.storage.kernels import unpack_by_triton

        return unpack_by_triton
    return unpack_by_torch


def unpack_by_torch(bits: Tensor, values: Tensor, offsets: Tensor | None, columns: int) -> Tensor:
    """The matrix of a `Bitmask`, without a kernel of its own, on any device or its offsets."""
    weight = values.new_zeros(len(bits), columns)
    # A CPU takes several times as long to fill under a mask.
    weight.view(-1).index_copy_(0, positions_of(mask_of(bits, columns).flatten()), values)
    return weight


def mask_of(bits: Tensor, columns: int) -> Tensor:
    """The mask that the bits of a `Bitmask` stand for, bool, (m, n)."""
    # Eight flags at once: a table whose entries, the flags of a byte, are one number each.
    flags = bits_of_bytes(bits.device).view(torch.int64).squeeze(1)
    mask = flags.index_select(0, bits.int().flatten()).view_as(bits).view(torch.bool)
    return mask[:, :columns]


def positions_of(flags: Tensor) -> Tensor:
    """Ascending positions of the flags that are set, of a flat bool tensor."""
    if flags.is_cuda:
        return flags.nonzero().view(-1)
    # Several times faster than torch's on a CPU.
    return torch.from_numpy(np.flatnonzero(flags.numpy()))


@cache
def bits_of_bytes(device: torch.device) -> Tensor:
    """The bits of each byte, the lowest first, bool, (256, 8)."""
    byte = torch.arange(256, device=device).unsqueeze(1)
    return (byte >> torch.arange(8, device=device)) % 2 == 1


def autocasted(x: Tensor) -> Tensor:
    """In the dtype of autocast, where that is on: a function of our own has to see to it."""
    device = x.device.type
    return x.to(torch.get_autocast_dtype(device)) if torch.is_autocast_enabled(device) else x


class BitmaskLinear(nn.Linear):
    """A frozen linear layer whose weight is kept as a `Bitmask`.

    `weight` unpacks it: a tensor of its own, not a parameter. Forward unpacks, and backward again:
    no dense weight is kept between them.

    Args:
        linear: the layer to take the place of.
    """

    def __init__(self, linear: nn.Linear):
        # Not that of nn.Linear, which registers a weight.
        nn.Module.__init__(self)
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self.packed = Bitmask(linear.weight.detach())
        self.register_parameter("bias", linear.bias)
        self.train(linear.training)

    @property
    def weight(self) -> Tensor:
        return self.packed.unpack()

    def forward(self, x: Tensor) -> Tensor:
        return self.product(x, self.packed.values)

    def product(self, x: Tensor, values: Tensor) -> Tensor:
        """What the layer gives for x, with values that may train under its mask, (k,)."""
        return _PackedLinear.apply(autocasted(x), values, self)


class _PackedLinear(torch.autograd.Function):
    """y = x weight^T + bias, the values rounded to x's dtype; saves x only if they train."""

    @staticmethod
    def forward(ctx, x: Tensor, values: Tensor, layer: BitmaskLinear) -> Tensor:
        ctx.packed = layer.packed
        ctx.save_for_backward(x if ctx.needs_input_grad[1] else None, values)
        bias = None if layer.bias is None else layer.bias.to(x.dtype)
        return F.linear(x, layer.packed.unpack(values.to(x.dtype)), bias)

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient: Tensor):
        x, values = ctx.saved_tensors
        to_x = to_values = None
        if ctx.needs_input_grad[0]:
            to_x = gradient @ ctx.packed.unpack(values.to(gradient.dtype))
        if ctx.needs_input_grad[1]:
            dense = gradient.flatten(0, -2).T @ x.flatten(0, -2)
            to_values = ctx.packed.pick(dense).to(values.dtype)
        return to_x, to_values, None


def pack_layers(model: nn.Module, layers: Iterable[str]) -> nn.Module:
    """Keep the weights of some linear layers, given by name, as bit masks; in place."""
    for name in layers:
        model.set_submodule(name, BitmaskLinear(model.get_submodule(name)))
    return model


def unpack_layers(model: nn.Module) -> nn.Module:
    """Make each `BitmaskLinear` of a model a plain layer again; in place."""
    for name, module in list(model.named_modules()):
        if isinstance(module, BitmaskLinear):
            model.set_submodule(name, plain(module))
    return model


def plain(layer: nn.Linear) -> nn.Linear:
    """A frozen layer of the class `nn.Linear` itself with the weight and bias of another."""
    linear = nn.Linear(layer.in_features, layer.out_features, device="meta")
    linear.weight = nn.Parameter(layer.weight.detach(), requires_grad=False)
    linear.bias = layer.bias
    return linear.train(layer.training)
