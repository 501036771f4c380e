"""LoRA (Hu et al. 2022), by PEFT: W + alpha / r * B A on the frozen pruned base.

The merged weight is dense, so one training gives two repairs: ``LoraDense`` keeps the merged
weight and loses the sparsity, ``Lora`` prunes it again as the base was pruned (LoRA* in the
literature on sparse models).
"""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field, PositiveFloat, PositiveInt
from torch import nn

from baselines.pruning.layers import prunable_layers
from baselines.repair.adapter import AdapterRepair
from baselines.repair.base import FrozenBaseOptions, store
from baselines.repair.dropout import Dropout

if TYPE_CHECKING:
    from peft import LoraConfig


class LoraOptions(FrozenBaseOptions):
    learning_rate: PositiveFloat = Field(2e-4, description="Peak learning rate.")
    rank: PositiveInt = Field(8, description="Rank r of the update B A.")
    alpha: PositiveInt = Field(16, description="The update is scaled by alpha / rank.")
    dropout: float = Field(0.05, ge=0, lt=1, description="Dropout on the input of A.")


class Lora(AdapterRepair):
    """LoRA on every target layer, merged and then pruned again to the base's pattern."""

    Options = LoraOptions
    paper = "Hu et al., ICLR 2022, arXiv 2106.09685"
    training = "lora"
    rank_option = "rank"
    products = 2  # The base is frozen: there is no gradient of its weights.

    def adapter(self, model: nn.Module, seed: int) -> "LoraConfig":
        from peft import LoraConfig

        return LoraConfig(
            r=self.options.rank,
            lora_alpha=self.options.alpha,
            lora_dropout=self.options.dropout,
            target_modules=list(prunable_layers(model)),
            task_type="CAUSAL_LM",
        )

    def wrap(self, model: nn.Module, *, seed: int) -> nn.Module:
        model = super().wrap(store(model, self.options.storage), seed=seed)
        return self._with_fast_dropout(model)

    def load(self, base: nn.Module, folder: str | Path) -> nn.Module:
        return self._with_fast_dropout(super().load(store(base, self.options.storage), folder))

    def _with_fast_dropout(self, model: nn.Module) -> nn.Module:
        from peft.tuners.lora import LoraLayer

        for module in model.modules():
            if isinstance(module, LoraLayer):
                module.lora_dropout["default"] = Dropout(self.options.dropout)
        return model

    def merge(self, model: nn.Module, reprune: Callable[[nn.Module], None]) -> nn.Module:
        merged = super().merge(model, reprune)
        reprune(merged)
        return merged


class LoraDense(Lora):
    """The same training, merged and left dense."""

    keeps_sparsity = False

    def merge(self, model: nn.Module, reprune: Callable[[nn.Module], None]) -> nn.Module:
        return AdapterRepair.merge(self, model, reprune)
