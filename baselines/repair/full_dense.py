"""Dense full fine-tuning: every weight of the target layers trains, pruned ones included.

The mask plays no part in the training; the trained model is dense, and is pruned again as its base
was. What `full` gains over this is what training under the mask is worth.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from baselines.repair.base import RepairedLinear
from baselines.repair.full import Full, ValuesInWeight


class FullDense(Full):
    """All weights of the target layers train, and are then pruned to the base's pattern."""

    training = "full-dense"
    held_bytes = 12

    def numbers(self, outputs: int, inputs: int, nonzero: int) -> int:
        return outputs * inputs

    def repaired(self, base: nn.Linear, generator: torch.Generator) -> "DenseLinear":
        return DenseLinear(base)

    def merge(self, model: nn.Module, reprune: Callable[[nn.Module], None]) -> nn.Module:
        merged = super().merge(model, reprune)
        reprune(merged)
        return merged


class DenseLinear(RepairedLinear):
    """A linear layer all of whose weights train.

    Attributes:
        values: The weights in float32, of shape (m, n). The layer's own weight tensor, in the
            base's dtype, holds them rounded.
    """

    def __init__(self, base: nn.Linear):
        super().__init__(base)
        # A copy in float32 too: the base's weight is not to train.
        self.values = nn.Parameter(base.weight.detach().to(torch.float32, copy=True))

    def forward(self, x: Tensor) -> Tensor:
        weight = ValuesInWeight.apply(self.values, self.base_layer.weight, None)
        return F.linear(x, weight, self.base_layer.bias)

    def write_back(self) -> None:
        """Bring the base's weight up to date with the values."""
        self.base_layer.weight.copy_(self.values)

    def shardable(self) -> nn.Module:
        """The layer in a form that FSDP can shard; it takes over the values."""
        from baselines.repair.sharding import ShardableLinear

        return ShardableLinear(self.base_layer, self.values)

    def merge(self) -> nn.Linear:
        return self.base_layer
