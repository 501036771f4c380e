"""What is measured."""

from typing import Annotated

from pydantic import Field, PositiveInt

from bench.evaluation.tasks import TaskSpec
from bench.typed import Name, NotNull, Strict


class Evaluation(Strict):
    """What is measured, on which items."""

    tasks: Annotated[dict[Name, TaskSpec | None], NotNull] = Field(
        description="Tasks, by the name of their YAML file in `config/tasks`, or by that of "
        "lm-eval. Null leaves out one that a configuration underneath has."
    )
    batch_tokens: PositiveInt = Field(
        default=256,
        description="Tokens that one forward pass of the evaluation takes: a GPU wants thousands.",
    )
