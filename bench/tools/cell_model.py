"""A cell's model, made again as its evaluation made it."""

from pathlib import Path

import torch
from safetensors import SafetensorError
from torch import nn

from baselines.pruning.layers import sparsity_report
from bench.cells import DENSE, Cell
from bench.files import UnreadableError
from bench.models.bases import load_base
from bench.models.loading import pick_device
from bench.models.merging import merge
from bench.origin import identity, verify
from bench.records.record import read_record
from bench.sources.base import SourceError

CELLS = Path("results/cells")


class NoCellError(ValueError):
    """A folder that is no cell's; the message is one line that says where cells lie."""


def read_cell(folder: Path) -> dict:
    """The record of a cell that has a sparse model.

    Args:
        folder: the cell's, with its ``record.json``.

    Raises:
        NoCellError: there is no such cell.
        ValueError: it failed, it is the dense model's, or its record does not say what its model
            was made from (one line).
    """
    path = folder / "record.json"
    if not path.is_file():
        raise NoCellError(
            f"{folder}: no cell; allowed: {CELLS}/<model>/<pruner>-<pattern>/"
            "<repair>[@<budget>]/seed<k>"
        )
    record = read_record(path)
    if record["error"] is not None:
        raise ValueError(f"{folder}: failed: {record['error']['message']}")
    if record["cell"]["pruner"] == DENSE:
        raise ValueError(
            f"{folder}: the dense model; it is a transformers folder: "
            f"resources/models/{record['cell']['model']}"
        )
    if "identities" not in (record.get("inputs") or {}):
        raise ValueError(f"{path}: does not say what its model was made from; run the cell again")
    return record


def load_cell(folder: Path, record: dict, device: str | None = None) -> nn.Module:
    """Merge a cell's model as its evaluation did.

    Args:
        folder: the cell's; the working folder is the one that the workflow ran in.
        record: its record.
        device: as in the configuration's ``runtime``; None: what the record has there.

    Raises:
        ValueError: what its model was made from is no longer there or has changed since, or there
            is no such device (one line).
    """
    inputs, resolved = record["inputs"], record["config"]["resolved"]
    _verify(folder, inputs)
    # As in the evaluation's job: the number of threads decides in which order numbers are added.
    torch.set_num_threads(record["provenance"]["threads"])
    dtype = getattr(torch, record["provenance"]["dtype"])
    try:
        where = pick_device(device or resolved["runtime"]["device"])
        model = load_base(inputs["base"], dense=inputs["model"], device=where, dtype=dtype)
        if inputs["trained"] is not None:
            cell = Cell(**record["cell"])
            model = merge(cell, resolved, model, inputs["trained"], inputs["calibration"])
    except (OSError, RuntimeError, ValueError, SafetensorError, SourceError) as error:
        raise ValueError(f"{folder}: {' '.join(str(error).split())}") from error
    if sparsity_report(model).layers != record["sparsity"]["layers"]:
        raise ValueError(
            f"{folder}: {inputs['trained'] or inputs['base']} gives other sparsities than were "
            "evaluated; run the cell again"
        )
    return model


def _verify(folder: Path, inputs: dict) -> None:
    """Check that what the model was made from is there, as it was when it was evaluated."""
    for name, path in inputs.items():
        if name == "identities" or path is None:
            continue
        if not Path(path).exists():
            raise ValueError(f"{folder}: made from {path}, which is not there; run the cell again")
        try:
            verify(path)
        except UnreadableError as error:
            raise ValueError(f"{folder}: {error}") from error
        if identity(path) != inputs["identities"][name]:
            raise ValueError(f"{folder}: {path} has changed since; run the cell again")
