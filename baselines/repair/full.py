"""Masked full fine-tuning: every weight that pruning left trains, every zero stays zero.

Training the dense weight with its gradient and itself multiplied by the mask (after the backward
and after each step) moves the non-zero weights exactly as training them alone does. So only they
are kept in float32, with their gradient and AdamW's moments: 16 bytes a weight left, not 16 a
weight. The layer's own weight tensor, in the base's dtype, holds them rounded.

Shared out over several processes, a layer keeps its mask as bits and no such tensor: the weight is
unpacked from the gathered values, rounded, each time it is used.
"""

import torch
from pydantic import Field, PositiveFloat
from torch import Tensor, nn
from torch.nn import functional as F

from baselines.repair.base import LayerRepair, RepairedLinear, TrainingOptions, repaired_layers
from baselines.repair.packed import PackedLinear
from seft.blocks import decoder_blocks


class FullOptions(TrainingOptions):
    learning_rate: PositiveFloat = Field(2e-5, description="Peak learning rate.")


class Full(LayerRepair):
    """All non-zero weights of the target layers train under the base's mask."""

    Options = FullOptions
    training = "full"
    shards = True
    held_bytes = 16  # Positions, too.
    saved_bytes = None

    def repaired(self, base: nn.Linear, generator: torch.Generator) -> "MaskedLinear":
        return MaskedLinear(base)

    def optimizer(self, model: nn.Module) -> torch.optim.Optimizer:
        optimizer = super().optimizer(model)
        optimizer.register_step_post_hook(lambda *_: write_back(model))
        return optimizer

    def shard(self, model: nn.Module, dtype: torch.dtype) -> None:
        from baselines.repair.sharding import shard

        blocks = decoder_blocks(model).values()
        for name, layer in repaired_layers(model).items():
            model.set_submodule(name, layer.shardable())
        shard(model, blocks, dtype)

    def restore(self, model: nn.Module, checkpoint: dict[str, Tensor]) -> None:
        super().restore(model, checkpoint)
        write_back(model)


class MaskedLinear(RepairedLinear):
    """A linear layer of which the weights that are not zero train.

    Attributes:
        values: The k non-zero weights, row by row: float32 of shape (k,).
        index: Where they are in the flattened weight: int32 of shape (k,).
    """

    def __init__(self, base: nn.Linear):
        super().__init__(base)
        # `write_back` writes into it by flat positions.
        base.weight.data = base.weight.data.contiguous()
        index = base.weight.flatten().nonzero().squeeze(1)
        self.values = nn.Parameter(base.weight.flatten()[index].float())
        # int32, since the index is as long as the values; a layer has fewer than 2^31 weights.
        self.register_buffer("index", index.int(), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        weight = ValuesInWeight.apply(self.values, self.base_layer.weight, self.index)
        return F.linear(x, weight, self.base_layer.bias)

    def write_back(self) -> None:
        """Bring the base's weight up to date with the values."""
        weight = self.base_layer.weight
        weight.view(-1).scatter_(0, self.index.long(), self.values.to(weight.dtype))

    def shardable(self) -> nn.Module:
        """The layer in a form that FSDP can shard; it takes over the values."""
        return PackedLinear(self.base_layer, self.values)

    def merge(self) -> nn.Linear:
        return self.base_layer


@torch.no_grad()
def write_back(model: nn.Module) -> None:
    """Bring the weights of a wrapped model up to date with the trained values."""
    for layer in repaired_layers(model).values():
        layer.write_back()


class ValuesInWeight(torch.autograd.Function):
    """The weight as a function of the values that are already written in it, rounded.

    Forward copies nothing; backward keeps of the dense gradient what belongs to the values, at
    ``index`` of the flattened weight (None: all of it).
    """

    @staticmethod
    def forward(ctx, values: Tensor, weight: Tensor, index: Tensor | None) -> Tensor:
        ctx.save_for_backward(index)
        return weight.view_as(weight)

    @staticmethod
    def backward(ctx, gradient: Tensor):
        (index,) = ctx.saved_tensors
        if index is not None:
            gradient = gradient.flatten().index_select(0, index)
        return gradient.float(), None, None
