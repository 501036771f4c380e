"""Trainings whose parameters, gradients and optimizer state several processes share out (FSDP).

A layer that is to be sharded holds nothing that training changes but its parameters: of these each
process has a part, and gathers the others' for as long as it computes with a decoder block.
"""

from collections.abc import Iterable

import torch
from torch import Tensor, distributed, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard
from torch.nn import functional as F


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
