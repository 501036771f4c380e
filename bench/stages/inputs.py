"""What the stages were made from, and ask of what they read (see :mod:`bench.origin`).

A stage's ``config`` is the resolved configuration of a cell
(:func:`bench.records.record.resolved_config`), or those parts of it that decide the stage.
"""

from collections.abc import Mapping
from pathlib import Path

from baselines.pruning import PRUNERS
from bench.cells import Cell
from bench.config.variants import training_of
from bench.files import read_json
from bench.origin import (
    OriginError,
    code_identity,
    contents_identity,
    identity,
    verify,
)


def verify_data(folders: Mapping[str, str | Path], data: Mapping[str, dict]) -> dict[str, str]:
    """Check that data sets are what was prepared, as configured; their identities by name.

    Args:
        folders: of the sets, by name.
        data: of each set its ``spec`` and its ``source``, as configured.

    Raises:
        OriginError: one is not.
    """
    for name, asked in data.items():
        verify(folders[name], asked)
    return {name: identity(folders[name]) for name in data}


def verify_checked(checked: str | Path, data: Mapping[str, str]) -> None:
    """Check that the data were found disjoint as they are now.

    Args:
        checked: what :func:`bench.data.disjoint.check` wrote.
        data: identities of the sets by name.

    Raises:
        OriginError: a set was another one then, or is not among those that were checked.
    """
    sets = read_json(checked)["sets"]
    for name, found in data.items():
        if name not in sets or contents_identity(sets[name]["files"]) != found:
            raise OriginError(checked, f"of another {name} than is used")


def of_base(cell: Cell, config: dict, *, model: str, code: str | None) -> dict:
    """What the base of a cell was made from, but for the calibration's tokens.

    Args:
        cell: one that starts from the base.
        config: with ``pruning``, ``calibration`` and ``runtime``.
        model: folder of the dense model.
        code: listing of the source files that decide it; None for any.
    """
    reads = PRUNERS[cell.pruner](**config["pruning"]).reads_calibration
    return _known(
        model=identity(model),
        pruner=cell.pruner,
        pattern=cell.pattern,
        pruning=config["pruning"],
        calibration=config["calibration"] if reads else {},
        runtime=_computing(config),
        code=code_identity(code),
    )


def of_training(cell: Cell, config: dict, *, model: str, base: str, code: str | None) -> dict:
    """What the training was made from that a cell merges, but for its blocks.

    Args:
        cell: one that merges it.
        config: with ``training``, ``repair`` and ``runtime``.
        model: folder of the dense model.
        base: folder of the pruned model.
        code: listing of the source files that decide it; None for any.
    """
    return _known(
        model=identity(model),
        base=identity(base),
        pattern=cell.pattern,
        method=training_of(cell.repair),
        repair=config["repair"],
        training=config["training"],
        seed=cell.seed,
        runtime=_computing(config),
        code=code_identity(code),
    )


def of_trial(cell: Cell, config: dict, *, code: str | None) -> dict:
    """What a trial of the learning-rate sweep was made from, but for what it reads.

    Args:
        cell: one that merges its training.
        config: with the learning rate to try (:func:`bench.records.record.repair_config`).
        code: listing of the source files that decide it; None for any.
    """
    # The model is an identity in what was made from it.
    decided = {key: value for key, value in config.items() if key != "model"}
    return _known(
        **decided,
        source=config["model"],
        method=training_of(cell.repair),
        seed=cell.seed,
        code=code_identity(code),
    )


def verify_tokens(
    tokens: str | None, config: dict, *, model: str, data: Mapping[str, str] | None = None
) -> dict:
    """Check that calibration tokens are of this model's tokenizer, as configured.

    Args:
        tokens: the file; None for a pruner that needs none.
        config: with ``calibration``.
        model: folder of the model.
        data: identities of the data sets by name, that of the calibration among them; None: of any.

    Returns:
        What a base is made from them: ``tokens`` (identity) and ``data``; nothing without tokens.

    Raises:
        OriginError: they are not.
    """
    if tokens is None:
        return {}
    asked = {"model": identity(model), "calibration": config["calibration"]}
    if data is not None:
        name = config["calibration"]["data"]
        asked["data"] = {name: data[name]}
    marker = verify(tokens, asked)
    return {"tokens": identity(tokens), "data": marker["made_from"]["data"]}


def _computing(config: dict) -> dict:
    return {key: config["runtime"][key] for key in ("device", "dtype")}


def _known(**entries) -> dict:
    """The entries that are there: what is not known cannot be asked for."""
    return {name: value for name, value in entries.items() if value is not None}
