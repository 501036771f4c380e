"""Which tasks there are, and the settings of one."""

from pathlib import Path

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeInt,
    PositiveInt,
    model_validator,
)

PERPLEXITY = "perplexity"
TASKS_FOLDER = Path(__file__).parents[2] / "config" / "tasks"


class TaskSpec(BaseModel):
    """Settings of one task; its prompt and its metrics are in ``config/tasks/<task>.yaml``."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    data: str | None = Field(
        default=None,
        description="Name of an entry of `data`. Null: a task of lm-eval's own, with its own data.",
    )
    split: str = Field(default="test", description="Which of its splits.")
    metric: str = Field(
        description="The metric that tables show: `acc`, `acc_norm` (by the length of the answer) "
        "or `perplexity` (a token)."
    )
    limit: PositiveInt | None = Field(
        default=None, description="Only the first items of the split. Null: all."
    )
    few_shot: NonNegativeInt = Field(
        default=0, description="Solved examples before each question, drawn from the same split."
    )
    context_length: PositiveInt | None = Field(
        default=None,
        description="Tokens that the model sees at most: a longer prompt loses its beginning, and "
        "perplexity is measured in windows of this length. Null, not for perplexity: the model's "
        "own limit.",
    )

    @model_validator(mode="after")
    def _perplexity_is_defined(self):
        if self.metric == PERPLEXITY:
            # The limits of today's models, up to 131072 tokens, are no protocol.
            if self.context_length is None:
                raise ValueError("context_length: missing; perplexity depends on it")
            if self.few_shot:
                raise ValueError(f"few_shot = {self.few_shot}: perplexity is of text alone; 0")
        return self
