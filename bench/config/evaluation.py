"""What is measured."""

from typing import Annotated

from pydantic import AfterValidator, Field, PositiveInt

from bench.evaluation.tasks import TaskSpec
from bench.typed import Name, Strict


def _wanted(tasks: dict[str, TaskSpec | None]) -> dict[str, TaskSpec]:
    wanted = {name: task for name, task in tasks.items() if task is not None}
    if not wanted:
        raise ValueError("allowed: at least one task")
    return wanted


class Evaluation(Strict):
    """What is measured, on which items."""

    tasks: Annotated[dict[Name, TaskSpec | None], AfterValidator(_wanted)] = Field(
        description="Tasks, by the name of their YAML file in `config/tasks`, or by that of "
        "lm-eval. Null leaves out one that a configuration underneath has."
    )
    batch_tokens: PositiveInt = Field(
        default=256,
        description="Tokens that one forward pass of the evaluation takes: a GPU wants thousands.",
    )
