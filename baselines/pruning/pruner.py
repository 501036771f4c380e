"""What a pruner is."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal

import torch
from pydantic import BaseModel, Field
from torch import nn

from baselines.pruning import owl
from baselines.pruning.calibration import Statistic
from baselines.pruning.pattern import Pattern

ALLOCATIONS = ("uniform", *owl.FURTHEST)


class Pruner(BaseModel, ABC, extra="forbid", frozen=True, allow_inf_nan=False):
    """A one-shot pruner; its options are its fields.

    Attributes:
        paper: Where the method comes from; None for a control.
        needs_calibration: Whether the pruner's criterion looks at the layers' inputs.
        keeps_weights: Whether the weights that stay keep their value, so that a mask tells the
            pruned model from the dense one.
    """

    allocation: Literal[ALLOCATIONS] = Field(
        "uniform",
        description="Sparsity of the decoder blocks: `uniform`; or, not with N:M, lower where "
        "more weights are outliers (Yin et al., ICML 2024, arXiv 2310.05175): `owl`, at most "
        "0.08 from the pattern's; `owl-minmax`, over a range of 0.16, as the authors' code has.",
    )

    paper: ClassVar[str | None] = None
    needs_calibration: ClassVar[bool] = True
    keeps_weights: ClassVar[bool] = False

    @property
    def reads_calibration(self) -> bool:
        """Whether pruning with these options looks at the layers' inputs."""
        return self.needs_calibration or self.allocation != "uniform"

    def check_pattern(self, pattern: Pattern) -> None:
        """Raise ValueError if these options do not apply to a pattern, whatever the model."""
        if self.allocation in owl.FURTHEST:
            owl.check_allocation(self.allocation, pattern)

    def statistic(self, width: int, device: torch.device) -> Statistic:
        """A new statistic for a layer with ``width`` inputs; only asked of a pruner that
        ``needs_calibration``.
        """
        raise TypeError(f"{type(self).__name__} keeps no statistic")

    def work(self, groups: Sequence[tuple[int, int]], tokens: int) -> float:
        """Floating-point operations that a decoder block takes.

        Args:
            groups: Outputs, together, and inputs of the layers that see the same input.
            tokens: That calibrate.
        """
        if not self.reads_calibration:
            return 0.0
        # A forward pass in which the layers' inputs are seen, and one for the next block's.
        return sum(2 * 2 * outputs * inputs * tokens for outputs, inputs in groups)

    def workspace(self, groups: Sequence[tuple[int, int]]) -> int:
        """Bytes that a decoder block takes, beside its weights and its input."""
        return 0

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
