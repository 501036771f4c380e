"""The trials of the learning-rate sweep, each compared with what is asked, and with the others."""

from collections.abc import Mapping

from pydantic import (
    BaseModel,
    ConfigDict,
    NonNegativeFloat,
    PositiveFloat,
    PositiveInt,
)

from bench.cells import IDENTITY, Cell
from bench.config.training import Training
from bench.files import UnreadableError, advising
from bench.origin import compare, first_difference
from bench.stages.inputs import of_trial
from bench.typed import Sha256, Strict, read_as


class _MadeFrom(BaseModel):
    """What a trial was made from: identities of what it read, beside what the configuration
    decides.
    """

    model_config = ConfigDict(extra="allow", strict=True)

    model: Sha256
    base: Sha256
    blocks: Sha256
    validation: Sha256
    tokens: Sha256 | None


class _Trial(Strict):
    """What :func:`bench.stages.repair.try_learning_rate` writes."""

    model_config = ConfigDict(strict=True)

    model: str
    pruner: str
    pattern: str
    budget: str
    tokens: PositiveInt
    repair: str
    learning_rate: PositiveFloat
    base_validation_loss: NonNegativeFloat
    validation_loss: NonNegativeFloat | None
    made_from: _MadeFrom


def read_trials(asked: Mapping[str, dict]) -> list[dict]:
    """The trials of a sweep, all of what is asked, and of one model, base and validation split.

    Args:
        asked: of each trial, by its file: its ``cell`` as a dictionary, its ``config``, and the
            ``code`` that decides it (:func:`bench.stages.inputs.of_trial`).

    Raises:
        UnreadableError: one is damaged, is not what is asked for, or was made from something else
            than another one; one line.
    """
    trials = {path: _read_trial(path, **wanted) for path, wanted in asked.items()}
    firsts: dict[tuple, str] = {}
    for path, trial in trials.items():
        for key in _MadeFrom.model_fields:
            # Each budget has blocks of its own.
            first = firsts.setdefault((key, trial["budget"] if key == "blocks" else None), path)
            found, other = trial["made_from"][key], trials[first]["made_from"][key]
            if (difference := first_difference(found, other, key)) is not None:
                what, shown, wanted = difference
                # Which one is out of date, neither says.
                reason = f"made with {what} = {shown}, {first} with {wanted}"
                raise UnreadableError(path, f"{reason}; remove both and run again")
    return list(trials.values())


def _read_trial(path: str, cell: dict, config: dict, code: str | None) -> dict:
    with advising("remove it and run again"):
        trial = read_as(_Trial, path)
    of = Cell(**cell)
    row = dict(zip(IDENTITY, of.row, strict=True))
    row["learning_rate"] = config["repair"]["learning_rate"]
    row["tokens"] = Training(**config["training"]).tokens
    compare(path, trial, row)
    compare(path, trial["made_from"], of_trial(of, config, code=code))
    return trial
