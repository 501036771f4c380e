"""SEFT, sparsity evolution fine-tuning (Xiao et al. 2025): a sparse delta whose positions evolve,
while the least sensitive weights are removed, so that each layer stays as sparse as it was.

By default layers evolve in turn (`stagger`), each as often as in the paper, where all evolve at
once, and start from random positions inside the mask (`init`). Windows keep the gradient of a few
candidates for each delta (`candidates`): of whole layers, they would be the most that a training
holds. The first micro-batch chooses them, so positions depend on how a batch is split
(docs/cluster.md).
"""

import inspect
import json
import re
from collections.abc import Callable, Iterable
from dataclasses import fields, replace
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Self

import torch
from pydantic import Field, PositiveFloat, PositiveInt, create_model, model_validator
from torch import Tensor, nn

import seft
from baselines.pruning.pattern import Pattern
from baselines.repair.base import EvolutionSchedule, FrozenBaseOptions, Repair, trainables
from seft.model import LOG_NAME

if TYPE_CHECKING:
    from transformers import TrainerCallback


# Where options do not say how often positions evolve: about how many evolutions a training has (the
# paper's T / R), how few at the least, and how many windows fit from one to the next.
EVOLUTIONS, FEWEST, WINDOWS = 30, 4, 4


def described(cls: type) -> dict[str, str]:
    """What a class's docstring says of each of its attributes."""
    attributes = inspect.getdoc(cls).partition("Attributes:\n")[2]
    entries = re.findall(r"^ {4}(\w+): (.+(?:\n {8}.+)*)", attributes, re.MULTILINE)
    return {name: " ".join(text.split()) for name, text in entries}


class DeltaOptions(FrozenBaseOptions):
    """Options of `seft.SeftConfig`, with its defaults; `match_rank` stands for the budget."""

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
        options = self.model_dump(include=OF_THE_LIBRARY.keys())
        return seft.SeftConfig(**options, **self.fixed, seed=seed)


OF_THE_LIBRARY = {field.name: field for field in fields(seft.SeftConfig)}


def with_options(base: type[DeltaOptions], *names: str, **narrower) -> type[DeltaOptions]:
    """Options and further ones of the library, as it declares them.

    Args:
        base: The options to add to.
        names: Of options.
        narrower: Of options that do not take all that the library does, with their types.
    """
    about = described(seft.SeftConfig)
    types = {name: OF_THE_LIBRARY[name].type for name in names} | narrower
    added = {
        name: (kind, Field(OF_THE_LIBRARY[name].default, description=about[name]))
        for name, kind in types.items()
    }
    return create_model(base.__name__, __base__=base, __doc__=base.__doc__, **added)


class EvolvingOptions(
    with_options(DeltaOptions, "accumulate_steps", "drop_fraction", "stagger", "candidates")
):
    """Options of a method whose positions evolve."""

    evolve_every: int | None = Field(
        None,
        description="Optimizer steps from one evolution of a layer to the next. Null: as many as "
        "give about 30 evolutions, as in the paper, but at least four windows and at most a "
        "quarter of the training.",
    )

    def config(self, seed: int, pattern: Pattern | None = None) -> seft.SeftConfig:
        # Of a training as long as the library's own period is for, where the length is not known.
        options = self.for_steps(EVOLUTIONS * seft.SeftConfig.evolve_every)
        return super(EvolvingOptions, options).config(seed, pattern)

    def for_steps(self, steps: int) -> Self:
        if self.evolve_every is not None:
            return self
        window = self.accumulate_steps
        every = min(max(round(steps / EVOLUTIONS), WINDOWS * window), steps // FEWEST)
        return self.model_copy(update={"evolve_every": max(every, window)})


class SeftOptions(
    with_options(
        EvolvingOptions,
        "schedule",
        "stop_fraction",
        "init",
        "moments",
        mask=Literal["evolve", "fixed"],  # With "free" it is no longer as sparse.
    )
):
    """Options of `seft.SeftConfig`, with its defaults; `match_rank` stands for the budget."""

    fixed = {"growth": "gradient"}

    nm: Literal["fixed", "evolve"] = Field(
        "fixed",
        description="On an N:M base: grow inside the mask alone, as the paper does, or let zeros "
        "move inside their group, which takes `mask: evolve` and no limit of `candidates`.",
    )

    def config(self, seed: int, pattern: Pattern | None = None) -> seft.SeftConfig:
        config = super().config(seed, pattern)
        if pattern is None or pattern.m is None:
            return config
        if self.nm == "fixed":
            return replace(config, mask="fixed")
        try:
            return replace(config, pattern=(pattern.n, pattern.m))
        except ValueError as error:
            given = f"mask={self.mask!r} and candidates={self.candidates}"
            raise ValueError(f"nm='evolve' with {given} on {pattern}: {error}") from None


class Seft(Repair):
    """SEFT on every target layer, with as many deltas as LoRA of the matched rank has numbers."""

    Options = SeftOptions
    paper = "Xiao et al. 2025, arXiv 2505.24037"
    training = "seft"
    rank_option = "match_rank"
    held_bytes = 25  # A generation, the position and the base's weight, and those removed.
    saved_bytes = 12  # A delta, its position, and one that was removed for it.

    def __init__(self, *, pattern: Pattern | None = None, **options):
        super().__init__(pattern=pattern, **options)
        self.config = self.options.config(seed=0, pattern=pattern)

    def wrap(self, model: nn.Module, *, seed: int) -> nn.Module:
        return seft.get_seft_model(model, replace(self.config, seed=seed))

    def optimizer(self, model: nn.Module) -> torch.optim.Optimizer:
        """AdamW with a step count for each delta, since deltas grow at different times."""
        return seft.AdamW(
            trainables(model).values(),
            lr=self.options.learning_rate,
            weight_decay=self.options.weight_decay,
            ramp=model.seft_config.ramp,
        )

    def callbacks(self) -> list["TrainerCallback"]:
        return [seft.SeftCallback()]

    @property
    def evolution_schedule(self) -> EvolutionSchedule | None:
        config = self.config
        if config.init == "random" and config.drop_fraction == 0:
            return None
        return EvolutionSchedule(config.evolve_every, config.accumulate_steps, config.stagger)

    def evolutions(self, steps: int) -> int | None:
        config = self.config
        if config.drop_fraction == 0:
            return None
        # The last in turn is almost a period behind; the first may be chosen as it would evolve.
        offsets = (0, config.evolve_every - 1) if config.stagger else (0,)
        return min(config.evolutions(steps, offset) for offset in offsets)

    def gathered_bytes(self, layers: Iterable[tuple[int, int]]) -> int:
        schedule, config = self.evolution_schedule, self.config
        if schedule is None:
            return 0
        windows = [config.window_bytes(*layer) for layer in layers]
        if schedule.in_turn and config.init == "random":
            return max(*windows, ceil(sum(windows) * schedule.window / schedule.every))
        # All layers choose their first positions at the same step.
        return sum(windows)

    def gathering(self, model: nn.Module) -> float:
        layers = model.seft_layers.values()
        return sum(layer.window is not None for layer in layers) / len(layers)

    def evolution_log(self, model: nn.Module) -> list[dict]:
        return model.evolution_log

    def save(self, model: nn.Module, folder: str | Path) -> None:
        """Write the deltas in SEFT's format."""
        model.save_pretrained(folder)

    @staticmethod
    def saved_evolution_log(folder: str | Path) -> list[dict]:
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
