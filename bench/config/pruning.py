"""The pruners' options, and the text on which they collect statistics."""

from typing import Literal

from pydantic import Field, PositiveInt

from baselines.pruning import PRUNERS
from bench.config.methods import options_model
from bench.typed import Seed, Strict


class Calibration(Strict):
    """The text on which pruners collect statistics."""

    data: str = Field(description="Name of an entry of `data`.")
    split: str = Field(default="train", description="Which of its splits.")
    samples: PositiveInt = Field(description="Number of sequences.")
    length: PositiveInt = Field(description="Tokens a sequence.")
    seed: Seed = Field(default=0, description="Seed of the choice of sequences.")
    sampling: Literal["joined", "documents"] = Field(
        default="joined",
        description="`joined`: all texts one after another, cut into sequences, of which some "
        "are drawn. `documents`: windows at random places of documents that are longer, as "
        "SparseGPT and Wanda publish it.",
    )


PruningOptions = options_model("PruningOptions", PRUNERS)
