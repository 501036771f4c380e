"""What a pruner is."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar, Protocol

import torch
from torch import Tensor, nn

from baselines.pruning.pattern import Pattern


class Statistic(Protocol):
    """What a pruner keeps of a layer's inputs over the calibration set."""

    def add(self, inputs: Tensor) -> None:
        """Take in more inputs of the layer, of shape (tokens, inputs), in the model's dtype."""


class Pruner(ABC):
    """A one-shot pruner; its options are keyword arguments of the constructor.

    Attributes:
        paper: Where the method comes from; None for a control.
        needs_calibration: Whether the pruner looks at the layers' inputs.
    """

    paper: ClassVar[str | None] = None
    needs_calibration: ClassVar[bool] = True
    extra_sources = (
        "baselines.pruning.calibration",
        "baselines.pruning.driver",
        "baselines.pruning.layers",
        "baselines.pruning.masks",
        "baselines.pruning.pattern",
    )

    def statistic(self, width: int, device: torch.device) -> Statistic:
        """A new statistic for a layer with ``width`` inputs; only asked of a pruner that
        ``needs_calibration``.
        """
        raise TypeError(f"{type(self).__name__} keeps no statistic")

    @abstractmethod
    def prune(
        self, layers: Mapping[str, nn.Linear], pattern: Pattern, statistic: Statistic | None
    ) -> None:
        """Prune layers in place, each by itself; called without gradients.

        Args:
            layers: Layers that receive the very same input, by name.
            pattern: The target; its ``m``, if any, divides the layers' widths.
            statistic: The statistic of that input; None without calibration.
        """
