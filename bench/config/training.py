"""What every repair has in common."""

from operator import attrgetter
from typing import Annotated, Any

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt

from bench.data.disjoint import OverlapRule
from bench.typed import Length, Strict, once


class Part(Strict):
    """One part of the repair text."""

    data: str = Field(description="Name of an entry of `data`.")
    weight: PositiveFloat = Field(default=1.0, description="Share of the tokens, relative.")


class Training(Strict):
    """What every repair has in common: data, budget and schedule."""

    mixture: Annotated[list[Part], Field(min_length=1), once("data set", attrgetter("data"))] = (
        Field(description="What the repair text is mixed of.")
    )
    split: str = Field(default="train", description="The split that is trained on.")
    validation_split: str = Field(
        default="validation",
        description="The split on which learning rates are chosen, of those sets of the mixture "
        "that have it.",
    )
    overlap: OverlapRule = Field(
        default="stop",
        description="What happens where an item of the training, validation or calibration text "
        "holds an evaluation item, or training text a validation item. `stop`: the run does. "
        "`drop`: the item that is trained on is left out. All pairs are in "
        "`resources/overlaps.jsonl`.",
    )
    validation_blocks: PositiveInt = Field(default=16, description="Blocks to validate on.")
    prompt_loss: bool = Field(
        default=False, description="Whether the tokens of a prompt count in the loss."
    )
    length: Length = Field(description="Tokens a block; documents are packed into blocks.")
    batch_size: PositiveInt = Field(description="Blocks a forward pass.")
    gradient_accumulation: PositiveInt = Field(
        default=1, description="Forward passes an optimizer step."
    )
    activation_checkpointing: bool = Field(
        default=False,
        description="Keep of each decoder block its input alone, and compute the rest of it again "
        "in the backward: less memory, for the time of another forward pass; the same results.",
    )
    steps: PositiveInt = Field(description="Optimizer steps.")
    warmup: Annotated[float, Field(ge=0, lt=1)] = Field(
        default=0.03, description="Fraction of the steps in which the learning rate rises."
    )
    final_rate: Annotated[float, Field(ge=0, le=1)] = Field(
        default=0.1, description="Fraction of the learning rate at which the cosine ends."
    )
    clip: NonNegativeFloat = Field(default=1.0, description="Largest gradient norm (0: no limit).")

    @property
    def blocks(self) -> int:
        """Blocks that one training sees, each once."""
        return self.steps * self.batch_size * self.gradient_accumulation

    @property
    def tokens(self) -> int:
        """Tokens that one training sees."""
        return self.blocks * self.length


class Budget(Strict):
    """What is laid over `training` and `repair`; what is null stays as it is there."""

    steps: PositiveInt | None = Field(default=None, description="Optimizer steps.")
    batch_size: PositiveInt | None = Field(default=None, description="Blocks a forward pass.")
    gradient_accumulation: PositiveInt | None = Field(
        default=None, description="Forward passes an optimizer step."
    )
    repair: dict[str, dict[str, Any]] = Field(
        default={},
        description="Options by repair or variant. One without a `learning_rate` here has those of "
        "the other budgets: between two that have one, interpolated on logarithmic scales of rate "
        "and tokens; beyond them, the nearest one's.",
    )


LENGTHS = ("steps", "batch_size", "gradient_accumulation")
"""What of `training` a budget changes."""
