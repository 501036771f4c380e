"""What is measured."""

from collections.abc import Mapping
from typing import Annotated

from pydantic import AfterValidator, Field, PositiveInt, PrivateAttr, model_validator

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
    _left_out: list[str] = PrivateAttr([])

    @model_validator(mode="wrap")
    @classmethod
    def _remember_what_is_left_out(cls, values, handler):
        made = handler(values)
        if isinstance(values, Mapping):
            made._left_out = [name for name, task in values["tasks"].items() if task is None]
        return made

    @property
    def named(self) -> list[str]:
        """The tasks that the configuration names, those that it leaves out among them."""
        return [*self.tasks, *self._left_out]
