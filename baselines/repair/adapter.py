"""What the repairs that PEFT implements share."""

from abc import abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import nn

from baselines.repair.base import Repair
from seft.storage import unpack_layers

if TYPE_CHECKING:
    from peft import PeftConfig


class AdapterRepair(Repair):
    """A repair by an adapter of PEFT."""

    @abstractmethod
    def adapter(self, model: nn.Module, seed: int) -> "PeftConfig":
        """PEFT's configuration for a pruned model."""

    def wrap(self, model: nn.Module, *, seed: int) -> nn.Module:
        from peft import get_peft_model

        adapter = self.adapter(model, seed)
        # PEFT initialises from torch's global generator, whose state is the caller's.
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            return get_peft_model(model, adapter)

    def save(self, model: nn.Module, folder: str | Path) -> None:
        """Write the adapter in PEFT's format."""
        # "auto" would ask the network whether the embeddings were resized.
        model.save_pretrained(folder, save_embedding_layers=False)

    def load(self, base: nn.Module, folder: str | Path) -> nn.Module:
        from peft import PeftModel

        return PeftModel.from_pretrained(base, folder, is_trainable=True)

    def merge(self, model: nn.Module, reprune: Callable[[nn.Module], None]) -> nn.Module:
        return unpack_layers(model).merge_and_unload()
