"""The pruners' options, and the text on which they collect statistics."""

from inspect import signature
from typing import Literal

from pydantic import BaseModel, Field, PositiveInt, create_model

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


def pruner_options(name: str) -> type[BaseModel]:
    """Options of a pruner: the keyword parameters of its constructor."""
    fields = {
        parameter.name: (parameter.annotation, parameter.default)
        for parameter in signature(PRUNERS[name]).parameters.values()
    }
    return create_model(PRUNERS[name].__name__, __base__=Strict, **fields)


PruningOptions = options_model("PruningOptions", {name: pruner_options(name) for name in PRUNERS})
