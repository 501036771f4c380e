"""The cells to run."""

from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from baselines.pruning.pattern import Pattern
from bench.cells import DEFAULT_BUDGET
from bench.typed import EachOnce, Seed, Strict


def _pattern(value: Any) -> str:
    """``s60`` and ``2of4`` as they are; a number is a sparsity: 0.6 is ``s60``."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        value = f"s{value * 100:g}" if 0 < value < 1 else None
    try:
        return str(Pattern.parse(value))
    except (TypeError, ValueError):
        raise ValueError(
            "allowed: s<percent> with 0 < percent < 100 (such as s60), <n>of<m> with 0 < n < m "
            "(such as 2of4), or a fraction above 0 and below 1"
        ) from None


PatternName = Annotated[str, BeforeValidator(_pattern)]
Names = Annotated[list[str], Field(min_length=1), EachOnce]


class Grid(Strict):
    """The cells to run: every combination of these."""

    models: Names = Field(description="Names of entries of `models`.")
    pruners: Names = Field(description="Pruning methods: those that `pruning` has.")
    patterns: Annotated[list[PatternName], Field(min_length=1), EachOnce] = Field(
        description="`s60` is 60 % of a layer's weights, `2of4` is 2 of each 4 inputs, pruned."
    )
    repairs: Names = Field(
        description="Repair methods: `none`, those that `repair` has, `lora-dense` (LoRA, merged "
        "and left dense), and names of entries of `variants`."
    )
    budgets: Names = Field(
        default=[DEFAULT_BUDGET],
        description="How much is trained: `default` is `training` as it is, others are names of "
        "entries of `budgets`. What is not trained has none.",
    )
    seeds: Annotated[list[Seed], Field(min_length=1), EachOnce] = Field(
        description="Each seed moves the order of the data and the initialisation."
    )
