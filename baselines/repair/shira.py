"""SHiRA, sparse high rank adapters (Bhardwaj et al. 2024), by PEFT, inside the base's mask.

In each layer r (m + n) weights at fixed positions train, as many numbers as LoRA of rank r has.
PEFT's own masks do not look at the base, and a random one would fill most of its zeros; but a
function in `ShiraConfig.mask_fn` may choose the positions, and the one here draws them at random
among the non-zero weights. So merging keeps the zeros, and the method is `static` in another
implementation.

What PEFT's interface leaves no choice about: the count is exactly r (m + n) (a layer with fewer
non-zero weights is refused); there is no scale and no dropout in training; forward adds the
adapter to a copy of the whole weight, which autograd keeps for the backward, as it does the dense
gradient, so memory is that of a dense weight a layer. PEFT saves the positions with the adapter but
not `mask_fn`: an adapter that is loaded has the saved positions, whatever drew them.
"""

from typing import TYPE_CHECKING

import torch
from pydantic import Field, PositiveFloat, PositiveInt
from torch import Tensor, nn

from baselines.pruning.layers import prunable_layers
from baselines.repair.adapter import AdapterRepair
from baselines.repair.base import TrainingOptions

if TYPE_CHECKING:
    from peft import ShiraConfig


class ShiraOptions(TrainingOptions):
    learning_rate: PositiveFloat = Field(1e-3, description="Peak learning rate.")
    match_rank: PositiveInt = Field(
        8, description="Rank r of the LoRA whose count is matched: r (m + n) weights a layer."
    )


class Shira(AdapterRepair):
    """SHiRA at random non-zero weights of every target layer."""

    Options = ShiraOptions
    paper = "Bhardwaj et al., NeurIPS 2024, arXiv 2406.13175"
    training = "shira"
    rank_option = "match_rank"
    held_bytes = 16
    saved_bytes = 12  # Positions, too.

    def adapter(self, model: nn.Module, seed: int) -> "ShiraConfig":
        from peft import ShiraConfig

        layers = prunable_layers(model)
        counts = {}
        for name, layer in layers.items():
            there = int(layer.weight.count_nonzero())
            counts[layer] = wanted = self.numbers(*layer.weight.shape, there)
            if wanted > there:
                raise ValueError(
                    f"{name} has {there} non-zero weights, fewer than the {wanted} that are to "
                    "train: lower match_rank"
                )
        generator = torch.Generator().manual_seed(seed)

        def mask_of(layer: nn.Linear, r: int, **_) -> Tensor:
            return random_mask(layer.weight, counts[layer], generator)

        config = ShiraConfig(
            r=self.options.match_rank, target_modules=list(layers), task_type="CAUSAL_LM"
        )
        config.mask_fn = mask_of
        return config


def random_mask(weight: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """1 at ``count`` non-zero weights, drawn by a generator on the CPU; 0 elsewhere: (m, n)."""
    positions = weight.flatten().nonzero().squeeze(1)
    chosen = torch.randperm(len(positions), generator=generator)[:count].to(weight.device)
    mask = torch.zeros_like(weight, memory_format=torch.contiguous_format)
    mask.view(-1)[positions[chosen]] = 1
    return mask
