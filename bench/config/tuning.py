"""The sweep of learning rates."""

from typing import Annotated

from pydantic import AfterValidator, Field, PositiveFloat

from bench.cells import DEFAULT_BUDGET
from bench.config.grid import Names, PatternName
from bench.typed import Strict


def _short(rate: float) -> float:
    # Its trial is named by it.
    if float(f"{rate:g}") != rate:
        raise ValueError("allowed: at most six significant digits")
    return rate


def _wanted(rates: dict[str, list[float] | None]) -> dict[str, list[float]]:
    return {name: values for name, values in rates.items() if values is not None}


Rate = Annotated[PositiveFloat, AfterValidator(_short)]


class Tuning(Strict):
    """The sweep that chooses each repair's learning rate (`make tune`)."""

    model: str = Field(description="Model of the sweep.")
    pruner: str = Field(description="Pruner of the sweep's base.")
    pattern: PatternName = Field(description="Pattern of the sweep's base.")
    budgets: Names = Field(
        default=[DEFAULT_BUDGET],
        description="As in `grid`; the sweep is made at the smallest and at the largest.",
    )
    learning_rates: Annotated[
        dict[str, Annotated[list[Rate], Field(min_length=1)] | None], AfterValidator(_wanted)
    ] = Field(
        description="Learning rates to try; the same number for each trained repair. Null leaves "
        "out one that a configuration underneath has."
    )
