"""Sparsity patterns: which fraction of a layer is pruned, and whether in groups of inputs."""

import math
import re
from dataclasses import dataclass
from fractions import Fraction


@dataclass(frozen=True)
class Pattern:
    """A target sparsity, unstructured or N:M.

    Attributes:
        fraction: The fraction of the weights to prune, 0 < fraction < 1. Exact, so that 0.6 of
            5 weights is 3, where float arithmetic would give 2.
        m: Length of the groups of consecutive inputs in which ``n`` weights are pruned; None for
            an unstructured pattern.

    Raises:
        ValueError: If the fraction is outside (0, 1) or is not a whole number of ``m`` inputs.
    """

    fraction: Fraction
    m: int | None = None

    def __post_init__(self):
        if not 0 < self.fraction < 1:
            raise ValueError(f"sparsity is {float(self.fraction):g}; it must lie in (0, 1)")
        if self.m is not None and (self.fraction * self.m).denominator != 1:
            raise ValueError(f"{self.fraction} of m = {self.m} inputs is not a whole number")

    @classmethod
    def unstructured(cls, sparsity: float) -> "Pattern":
        """The unstructured pattern that prunes ``sparsity`` (a fraction) of the weights."""
        if not 0 < sparsity < 1:
            raise ValueError(f"sparsity is {sparsity}; it must lie in (0, 1)")
        # The nearest simple fraction is the number that was meant: 3/5 for the double 0.6.
        return cls(Fraction(sparsity).limit_denominator(1_000_000))

    @classmethod
    def parse(cls, text: str) -> "Pattern":
        """Read ``s60`` (unstructured, 60 %) or ``2of4`` (2 of 4 consecutive inputs pruned)."""
        if match := re.fullmatch(r"s(\d+(?:\.\d+)?)", text):
            percent = float(match[1])
            if 0 < percent < 100:
                return cls.unstructured(percent / 100)
        elif match := re.fullmatch(r"(\d+)of(\d+)", text):
            n, m = int(match[1]), int(match[2])
            if 0 < n < m:
                return cls(Fraction(n, m), m)
        raise ValueError(
            f"pattern {text!r} is neither s<percent> with 0 < percent < 100 (such as s60) "
            "nor <n>of<m> with 0 < n < m (such as 2of4)"
        )

    def __str__(self) -> str:
        if self.m is None:
            return f"s{float(100 * self.fraction):.15g}"
        return f"{self.n}of{self.m}"

    @property
    def sparsity(self) -> float:
        """The requested fraction of zeros."""
        return float(self.fraction)

    @property
    def n(self) -> int | None:
        """Number of pruned weights in each group of ``m`` inputs; None if unstructured."""
        return None if self.m is None else int(self.fraction * self.m)

    def count(self, entries: int) -> int:
        """Number of weights to prune among ``entries``: the requested fraction, rounded down."""
        return math.floor(entries * self.fraction)

    def check_width(self, layer: str, width: int) -> None:
        """Raise ValueError if a layer with ``width`` inputs cannot be cut into groups of ``m``."""
        if self.m is not None and width % self.m:
            raise ValueError(
                f"{layer} has {width} inputs, not a multiple of {self.m}: "
                f"pattern {self} cannot be applied"
            )
