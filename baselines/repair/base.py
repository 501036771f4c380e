"""The interface of every repair, and what the repairs that put in layers of their own share."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple, Self

import torch
import torch.distributed
from pydantic import BaseModel, Field, NonNegativeFloat, PositiveFloat
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from baselines.pruning.layers import prunable_layers
from baselines.pruning.pattern import Pattern
from seft.storage import STORAGES, pack_layers, unpack_layers

if TYPE_CHECKING:
    from transformers import TrainerCallback

STATE_FILE = "repair.safetensors"


class RepairOptions(BaseModel, extra="forbid", frozen=True, allow_inf_nan=False):
    """The options of a repair that does not train."""

    fixed: ClassVar[dict[str, Any]] = {}
    """What makes the method what it is: options of the repair it is a `variant_of`, not its own."""


class OptimizerOptions(RepairOptions):
    """The options that every repair that trains has."""

    learning_rate: PositiveFloat = Field(description="Peak learning rate.")
    weight_decay: NonNegativeFloat = Field(0.0, description="Decoupled weight decay of AdamW.")

    def for_steps(self, steps: int) -> Self:
        """These options, with what they leave to the number of optimizer steps of a training."""
        return self


class TrainingOptions(OptimizerOptions):
    """The options of a repair that trains on what the model predicts."""

    objective: Literal["next-token", "distill"] = Field(
        "next-token",
        description="What is learnt: the text's next token, or the dense model's distribution of "
        "it (KL divergence, temperature 1), for which the dense model runs beside.",
    )


class FrozenBaseOptions(TrainingOptions):
    """The options of a repair that changes no weight of its base until it merges."""

    storage: Literal[STORAGES] = Field(
        "dense",
        description="How the base's weights are held while training: dense, or as a bit mask and "
        "the non-zero values, unpacked one layer at a time; the results are the same.",
    )


class EvolutionSchedule(NamedTuple):
    """How often the positions that a method trains evolve.

    Attributes:
        every: Optimizer steps from one evolution of a layer to the next.
        window: Those of them whose gradients an evolution looks at.
        in_turn: Whether layers evolve one after another.
    """

    every: int
    window: int
    in_turn: bool


class Repair(ABC):
    """A repair: makes a pruned model trainable, and a trained one plain again.

    Called in this order: ``wrap`` (or ``load``), training with ``optimizer`` and ``callbacks``,
    ``save``, ``merge``. What ``save`` wrote, loaded and merged, equals what ``merge`` gives at
    once, bit for bit. ``wrap``, ``load`` and ``merge`` change the model they are given and return
    the one to use from then on. A training that was interrupted goes on from its last
    ``checkpoint``, which ``restore`` brings into a model wrapped anew.
    """

    Options: ClassVar[type[RepairOptions]]
    """The method's options, with their descriptions."""

    variant_of: ClassVar[str | None] = None
    """Name of the repair that is this one but for the options that ``Options.fixed`` sets."""

    paper: ClassVar[str | None] = None
    """Where the method comes from; None for a control."""

    training: ClassVar[str | None]
    """Name of the repair whose training this one merges (mostly itself), None for no training."""

    shards: ClassVar[bool] = False
    """Whether several processes can share out what the training holds; see ``shard``."""

    keeps_sparsity: ClassVar[bool] = True
    """Whether the merged model is as sparse as its base, group by group where that is N:M."""

    rank_option: ClassVar[str | None] = None
    """Name of the option that is the rank r of LoRA where r (outputs + inputs) numbers train."""

    products: ClassVar[int] = 3
    """Products with a matrix of a layer's size that training takes a token: mostly forward,
    gradient of the input, and gradient of the weight or of what stands for it.
    """

    by_block: ClassVar[bool] = False
    """Whether one decoder block trains at a time, on states of the whole text that lie, as the
    dense model does, in the host's memory.
    """

    held_bytes: ClassVar[int] = 12
    """Bytes that training holds a number that trains, but for its gradient: itself and AdamW's two
    moments in float32, and where it is.
    """

    saved_bytes: ClassVar[int | None] = 4
    """Bytes that `save` takes a number that trains; None: as many as a weight of the base, in the
    dtype of which it is saved.
    """

    def __init__(self, *, pattern: Pattern | None = None, **options):
        """Set up the method.

        Args:
            pattern: That the base was pruned to; a method that moves zeros keeps to its groups.
            **options: As ``Options`` declares them.
        """
        self.pattern = pattern
        self.options = self.Options(**options)

    @property
    def objective(self) -> str | None:
        """What it learns (see `TrainingOptions`); None where that is a matter of its own."""
        return getattr(self.options, "objective", None)

    @property
    def needs_dense(self) -> bool:
        """Whether its training is handed the dense model."""
        return self.objective == "distill"

    @abstractmethod
    def wrap(self, model: nn.Module, *, seed: int) -> nn.Module:
        """Freeze a pruned model and add what trains: float32, initialised by ``seed`` alone.

        The wrapped model computes what the pruned model does until the first optimizer step.
        """

    def shard(self, model: nn.Module, dtype: torch.dtype) -> None:
        """Share out a wrapped model over the processes, in place, before it has an optimizer.

        Every process then takes part in each of its forward and backward passes, and in ``save``.

        Args:
            model: The same in all processes.
            dtype: To compute in.
        """
        raise TypeError(f"{type(self).__name__} trains in one process")

    def optimizer(self, model: nn.Module) -> torch.optim.Optimizer:
        """The optimizer of a wrapped model; its learning-rate schedule is the caller's."""
        return torch.optim.AdamW(
            trainables(model).values(),
            lr=self.options.learning_rate,
            weight_decay=self.options.weight_decay,
            fused=True,
        )

    def callbacks(self) -> list["TrainerCallback"]:
        """What the method does besides optimizer steps, for transformers' Trainer."""
        return []

    def trainable_parameters(self, model: nn.Module) -> int:
        """How many numbers of a wrapped model train."""
        return sum(parameter.numel() for parameter in trainables(model).values())

    def numbers(self, outputs: int, inputs: int, nonzero: int) -> int:
        """How many numbers train of a layer that has so many weights that are not zero."""
        if self.rank_option is None:
            return nonzero
        return getattr(self.options, self.rank_option) * (outputs + inputs)

    @property
    def evolution_schedule(self) -> EvolutionSchedule | None:
        """How often the positions that train evolve; None if they never do."""
        return None

    def evolutions(self, steps: int) -> int | None:
        """How often each layer evolves, at the least, in so many optimizer steps, after its first
        positions are chosen; None if none is meant to.
        """
        return None

    def gathered_bytes(self, layers: Iterable[tuple[int, int]]) -> int:
        """Bytes of gradients that are gathered for evolutions, at the most, before they happen.

        Args:
            layers: Outputs and inputs of each layer that trains.
        """
        return 0

    def gathering(self, model: nn.Module) -> float:
        """Fraction of the layers of a wrapped model that gather gradients at present."""
        return 0.0

    def evolution_log(self, model: nn.Module) -> list[dict]:
        """An entry an evolution of a layer, in the form of ``seft``'s log, of a wrapped model."""
        return []

    def seconds_evolving(self, model: nn.Module) -> float:
        """Seconds the training so far has spent on choosing which weights train."""
        return sum(entry["seconds"] for entry in self.evolution_log(model))

    def save(self, model: nn.Module, folder: str | Path) -> None:
        """Write what tells a wrapped model from its base; of several processes the first does."""
        state = self.state(model)
        if not torch.distributed.is_initialized() or torch.distributed.get_rank() == 0:
            Path(folder).mkdir(parents=True, exist_ok=True)
            save_file(state, Path(folder) / STATE_FILE)

    def state(self, model: nn.Module) -> dict[str, Tensor]:
        """What ``save`` writes: the trained tensors by name."""
        dtype = model.dtype if self.saved_bytes is None else None
        return {
            name: gathered(parameter.detach()).to(dtype or parameter.dtype)
            for name, parameter in trainables(model).items()
        }

    @staticmethod
    def saved_evolution_log(folder: str | Path) -> list[dict]:
        """What ``save`` wrote of the log of evolutions."""
        return []

    def load(self, base: nn.Module, folder: str | Path) -> nn.Module:
        """Wrap a pruned model and give it what ``save`` wrote.

        Base and options have to be those of the training: what is saved has no more of them than
        its shapes, and those alone are checked.

        Raises:
            ValueError: The shapes of what was saved are not those of this base and these options.
        """
        model = self.wrap(base, seed=0)
        parameters, saved = trainables(model), load_file(Path(folder) / STATE_FILE)
        for name in sorted(parameters.keys() | saved.keys()):
            expected, found = (
                tuple(tensors[name].shape) if name in tensors else "nothing"
                for tensors in (parameters, saved)
            )
            if expected != found:
                raise ValueError(f"{folder}: {name}: shape {expected} expected, {found} saved")
        self.restore(model, saved)
        return model

    def checkpoint(self, model: nn.Module) -> dict[str, Tensor]:
        """What training has changed in a wrapped model, as it is: enough to train on from there."""
        return {name: parameter.detach() for name, parameter in trainables(model).items()}

    @torch.no_grad()
    def restore(self, model: nn.Module, checkpoint: dict[str, Tensor]) -> None:
        """Bring a wrapped model to where it was when ``checkpoint`` was taken."""
        for name, parameter in trainables(model).items():
            parameter.copy_(checkpoint[name])

    @abstractmethod
    def merge(self, model: nn.Module, reprune: Callable[[nn.Module], None]) -> nn.Module:
        """The plain transformers model, in the base's dtype, that a wrapped model stands for.

        Args:
            model: A wrapped model; afterwards it is no longer one.
            reprune: Prunes a model in place as the base was; called if merging fills its zeros.
        """


def store(model: nn.Module, storage: str) -> nn.Module:
    """Hold the weights of a pruned model's target layers as `FrozenBaseOptions.storage` says."""
    if storage == "bitmask":
        pack_layers(model, list(prunable_layers(model)))
    return model


def gathered(tensor: Tensor) -> Tensor:
    """A tensor with the parts of it that other processes have; all of them have to ask for it."""
    # A DTensor has this method. To import the class takes a second, and most trainings need none.
    return tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor


def trainables(model: nn.Module) -> dict[str, nn.Parameter]:
    """The parameters of a wrapped model that train, by name."""
    return {
        name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad
    }


class RepairedLinear(nn.Module, ABC):
    """A frozen linear layer together with what trains in it."""

    def __init__(self, base: nn.Linear):
        super().__init__()
        # PEFT's name for it, by which `seft.blocks` tells that a model is not merged.
        self.base_layer = base
        self.train(base.training)

    def random_rows(self, rows: int, generator: torch.Generator) -> nn.Parameter:
        """Of the base's width, as PEFT begins LoRA's A: Kaiming-uniform with a = sqrt(5)."""
        # Drawn on the CPU, so that the seed means the same on every device.
        values = torch.empty(rows, self.base_layer.in_features)
        nn.init.kaiming_uniform_(values, a=math.sqrt(5), generator=generator)
        return nn.Parameter(values.to(self.base_layer.weight.device))

    @abstractmethod
    def merge(self) -> nn.Linear:
        """The base layer, its weight changed to what was trained."""


class LayerRepair(Repair):
    """A repair that puts a ``RepairedLinear`` in the place of each target layer."""

    @abstractmethod
    def repaired(self, base: nn.Linear, generator: torch.Generator) -> RepairedLinear:
        """The layer that takes the place of ``base``, initialised from a generator on the CPU."""

    def wrap(self, model: nn.Module, *, seed: int) -> nn.Module:
        model.requires_grad_(False)
        generator = torch.Generator().manual_seed(seed)
        for name, linear in prunable_layers(model).items():
            model.set_submodule(name, self.repaired(linear, generator))
        return model

    def merge(self, model: nn.Module, reprune: Callable[[nn.Module], None]) -> nn.Module:
        for name, layer in repaired_layers(model).items():
            model.set_submodule(name, layer.merge())
        return model


class FrozenLayerRepair(LayerRepair):
    """A `LayerRepair` whose ``Options`` are ``FrozenBaseOptions``."""

    def wrap(self, model: nn.Module, *, seed: int) -> nn.Module:
        return super().wrap(store(model, self.options.storage), seed=seed)

    def merge(self, model: nn.Module, reprune: Callable[[nn.Module], None]) -> nn.Module:
        return super().merge(unpack_layers(model), reprune)


def repaired_layers(model: nn.Module) -> dict[str, RepairedLinear]:
    """The ``RepairedLinear`` layers of a wrapped model, by name."""
    return {
        name: module for name, module in model.named_modules() if isinstance(module, RepairedLinear)
    }
