"""SEFT, sparsity evolution fine-tuning (Xiao et al. 2025): a sparse delta whose positions evolve,
while the least sensitive weights are removed, so that each layer stays as sparse as it was.

By default layers evolve in turn (`stagger`), each as often as in the paper, where all evolve at
once. All at once, the windows of dense gradients are the most that a training holds: 4 bytes a
weight.
"""

import json
from collections.abc import Callable, Iterable
from dataclasses import fields, replace
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import torch
from pydantic import Field, PositiveFloat, PositiveInt, model_validator
from torch import Tensor, nn

import seft
from baselines.pruning.pattern import Pattern
from baselines.repair.base import Evolutions, FrozenBaseOptions, Repair, trainables
from seft.model import LOG_NAME

if TYPE_CHECKING:
    from transformers import TrainerCallback


class DeltaOptions(FrozenBaseOptions):
    """Options of `seft.SeftConfig`, with its defaults; `match_rank` stands for the budget."""

    fixed: ClassVar[dict[str, Any]] = {}
    """Those of its options that make the method what it is: no option of the method."""

    learning_rate: PositiveFloat = Field(1e-3, description="Peak learning rate.")
    match_rank: PositiveInt = Field(
        8, description="Rank r of the LoRA whose count is matched: r (m + n) deltas a layer."
    )

    @model_validator(mode="after")
    def _valid_for_seft(self):
        self.config(seed=0)
        return self

    def config(self, seed: int, pattern: Pattern | None = None) -> seft.SeftConfig:
        """The library's configuration, for a base of this pattern."""
        options = self.model_dump(include={field.name for field in fields(seft.SeftConfig)})
        return seft.SeftConfig(**options, **self.fixed, seed=seed)


class EvolvingOptions(DeltaOptions):
    """Options of a method whose positions evolve."""

    evolve_every: int = Field(
        seft.SeftConfig.evolve_every, description="Optimizer steps from one evolution to the next."
    )
    accumulate_steps: int = Field(
        seft.SeftConfig.accumulate_steps,
        description="Optimizer steps whose mean gradient an evolution uses; at most evolve_every.",
    )
    drop_fraction: float = Field(
        seft.SeftConfig.drop_fraction,
        description="Fraction of a layer's deltas that an evolution drops at the start.",
    )
    stagger: bool = Field(
        True,
        description="Layers evolve in turn, each every `evolve_every` steps, so that few gradient "
        "windows are in memory at a time; false: all at once, in 4 bytes a weight.",
    )
    candidates: int | None = Field(
        seft.SeftConfig.candidates,
        description="c: windows keep the gradient of about 2 c + 1 candidates for each delta "
        "instead of a whole layer's.",
    )


class SeftOptions(EvolvingOptions):
    """Options of `seft.SeftConfig`, with its defaults; `match_rank` stands for the budget."""

    schedule: str = Field(
        seft.SeftConfig.schedule, description="How that fraction falls to 0: cosine or linear."
    )
    stop_fraction: float = Field(
        seft.SeftConfig.stop_fraction,
        description="Fraction of the training after which nothing is dropped.",
    )
    init: str = Field(
        seft.SeftConfig.init, description="The first positions: by gradient, or random."
    )
    moments: str = Field(
        seft.SeftConfig.moments,
        description="AdamW's moments of a grown delta: zero (reset), or the means of the window, "
        "as old as it (seeded).",
    )
    mask: Literal["evolve", "fixed"] = Field(
        seft.SeftConfig.mask, description="Grow anywhere, or inside the base's mask alone."
    )
    nm: Literal["fixed", "evolve"] = Field(
        "fixed",
        description="On an N:M base: grow inside the mask alone, as the paper does, or let zeros "
        "move inside their group.",
    )

    def config(self, seed: int, pattern: Pattern | None = None) -> seft.SeftConfig:
        config = super().config(seed, pattern)
        if pattern is None or pattern.m is None:
            return config
        if self.nm == "fixed":
            return replace(config, mask="fixed")
        return replace(config, pattern=(pattern.n, pattern.m))


class Seft(Repair):
    """SEFT on every target layer, with as many deltas as LoRA of the matched rank has numbers."""

    Options = SeftOptions
    paper = "Xiao et al. 2025, arXiv 2505.24037"
    training = "seft"
    rank_option = "match_rank"
    products = 2  # The gradient is taken at the positions alone.
    held_bytes = 28  # An age, the position and the base's weight, and those that were removed.
    saved_bytes = 12  # A delta, its position, and one that was removed for it.

    def wrap(self, model: nn.Module, *, seed: int) -> nn.Module:
        return seft.get_seft_model(model, self.options.config(seed, self.pattern))

    def optimizer(self, model: nn.Module) -> torch.optim.Optimizer:
        """AdamW with a step count for each delta, since deltas grow at different times."""
        return seft.AdamW(
            trainables(model).values(),
            lr=self.options.learning_rate,
            weight_decay=self.options.weight_decay,
        )

    def callbacks(self) -> list["TrainerCallback"]:
        return [seft.SeftCallback()]

    @property
    def evolutions(self) -> Evolutions | None:
        config = self.options.config(seed=0)
        if config.init == "random" and config.drop_fraction == 0:
            return None
        return Evolutions(config.evolve_every, config.accumulate_steps, config.stagger)

    def gathered_bytes(self, layers: Iterable[tuple[int, int]]) -> int:
        evolutions = self.evolutions
        if evolutions is None:
            return 0
        windows = [4 * outputs * inputs for outputs, inputs in layers]
        share = evolutions.window / evolutions.every if evolutions.in_turn else 1
        return max(*windows, ceil(share * sum(windows)))

    def seconds_evolving(self, model: nn.Module) -> float:
        return model.seconds_evolving

    def save(self, model: nn.Module, folder: str | Path) -> None:
        """Write the deltas in SEFT's format."""
        model.save_pretrained(folder)

    @staticmethod
    def evolution(folder: str | Path) -> list[dict]:
        lines = (Path(folder) / LOG_NAME).read_text().splitlines()
        return [json.loads(line) for line in lines]

    def load(self, base: nn.Module, folder: str | Path) -> nn.Module:
        return seft.SeftModel.from_pretrained(base, folder, is_trainable=True)

    def checkpoint(self, model: nn.Module) -> dict[str, Tensor]:
        """The deltas, where they are, and the gradients gathered for the next evolution."""
        return model.state_dict()

    def restore(self, model: nn.Module, checkpoint: dict[str, Tensor]) -> None:
        model.load_state_dict(checkpoint)

    def merge(self, model: nn.Module, reprune: Callable[[nn.Module], None]) -> nn.Module:
        return model.merge_and_unload()
