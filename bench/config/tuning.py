"""The sweep of learning rates."""

from typing import Annotated

from pydantic import AfterValidator, Field, PositiveFloat

from bench.cells import DEFAULT_BUDGET
from bench.config.grid import Names, PatternName
from bench.typed import NotNull, Strict


def _short(rate: float) -> float:
    # Its trial is named by it.
    if float(f"{rate:g}") != rate:
        raise ValueError("allowed: at most six significant digits")
    return rate


Rate = Annotated[PositiveFloat, AfterValidator(_short)]
Rates = Annotated[list[Rate], Field(min_length=1)]


class Tuning(Strict):
    """The sweep that chooses each repair's learning rate (`make tune`)."""

    model: str = Field(description="Model of the sweep.")
    pruner: str = Field(description="Pruner of the sweep's base.")
    pattern: PatternName = Field(description="Pattern of the sweep's base.")
    budgets: Names = Field(
        default=[DEFAULT_BUDGET],
        description="As in `grid`; the sweep is made at the smallest and at the largest.",
    )
    learning_rates: Annotated[dict[str, Rates | None], NotNull] = Field(
        description="Learning rates to try, the same number for each repair: one that trains, or a "
        "variant. Null leaves out one that a configuration underneath has."
    )
