"""Trainings whose parameters, gradients and optimizer state several processes share out (FSDP).

A layer that is to be sharded holds nothing that training changes but its parameters: of these each
process has a part, and gathers the others' for as long as it computes with a decoder block.
"""

from collections.abc import Iterable

import torch
from torch import Tensor, distributed, nn
from torch.autograd.function import once_differentiable
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard
from torch.nn import functional as F

from seft.storage import Bitmask, mask_of, positions_of, unpacker


def shard(model: nn.Module, blocks: Iterable[nn.Module], dtype: torch.dtype) -> None:
    """Share out the parameters of a model over the processes, in place.

    Args:
        model: On each process's device, the same on all.
        blocks: Its decoder blocks: parameters are gathered for one at a time.
        dtype: To compute in; parameters and the sums of gradients stay in their own.
    """
    mesh = init_device_mesh(model.device.type, (distributed.get_world_size(),))
    policy = MixedPrecisionPolicy(param_dtype=dtype, reduce_dtype=torch.float32)
    for module in (*blocks, model):
        fully_shard(module, mesh=mesh, mp_policy=policy)


class ShardableLinear(nn.Module):
    """A linear layer all of whose weights train.

    Args:
        base: The layer to take the place of; its weight is not kept.
        values: Its weight in float32, of shape (m, n).
    """

    def __init__(self, base: nn.Linear, values: nn.Parameter):
        super().__init__()
        self.values = values
        self.register_parameter("bias", base.bias)

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.values, self.bias)


class ShardableMaskedLinear(ShardableLinear):
    """A linear layer of which the weights that are not zero train, under a bit mask.

    Args:
        base: The layer to take the place of; of its weight the mask is kept.
        values: The k weights that are not zero, row by row: float32 of shape (k,).
    """

    def __init__(self, base: nn.Linear, values: nn.Parameter):
        super().__init__(base, values)
        mask = Bitmask(base.weight.detach())
        self.columns = mask.columns
        self.register_buffer("bits", mask.bits, persistent=False)
        self.register_buffer("offsets", mask.offsets, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        if torch.is_autocast_enabled(x.device.type):
            x = x.to(torch.get_autocast_dtype(x.device.type))
        return _MaskedLinear.apply(x, self.values, self)

    def unpack(self, values: Tensor) -> Tensor:
        """The weight, of shape (m, n), in the dtype of the values."""
        unpack = unpacker(values.device.type)
        return unpack(self.bits, values, self.offsets, self.columns)

    def pick(self, weight: Tensor) -> Tensor:
        """What lies under the mask, in the order of the values."""
        positions = positions_of(mask_of(self.bits, self.columns).flatten())
        return weight.flatten().index_select(0, positions)


class _MaskedLinear(torch.autograd.Function):
    """y = x weight^T + bias; the weight is unpacked, and in the backward again: none is kept."""

    @staticmethod
    def forward(ctx, x: Tensor, values: Tensor, layer: ShardableMaskedLinear) -> Tensor:
        ctx.layer = layer
        ctx.save_for_backward(x, values)
        return F.linear(x, layer.unpack(values), layer.bias)

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient: Tensor):
        x, values = ctx.saved_tensors
        # The first block's input needs no gradient.
        to_x = gradient @ ctx.layer.unpack(values) if ctx.needs_input_grad[0] else None
        to_weight = gradient.flatten(0, -2).T @ x.flatten(0, -2)
        return to_x, ctx.layer.pick(to_weight), None
