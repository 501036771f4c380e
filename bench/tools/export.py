"""A cell's sparse model as a plain ``transformers`` folder (``make export CELL=...``).

With ``--to`` the results of all cells, in a format of others (:mod:`bench.tools.formats`).
"""

import argparse
import sys
from pathlib import Path

import torch
from safetensors import SafetensorError

from baselines.pruning.layers import sparsity_report
from bench.cells import DENSE, Cell
from bench.files import UnreadableError, whole
from bench.models.bases import load_base
from bench.models.loading import load_tokenizer, pick_device
from bench.models.merging import merge
from bench.origin import identity, verify
from bench.records.record import read_record
from bench.sources.base import SourceError
from bench.tools.formats.write import FORMATS, add_options, export_or_exit

CELLS = Path("results/cells")
EXPORTS = Path("results/export")


def export(folder: Path, output: Path) -> None:
    """Merge a cell's model as its evaluation did, and write it with its tokenizer.

    Args:
        folder: the cell's, with its ``record.json``; the working folder is the one that the
            workflow ran in.
        output: folder to create, whole or not at all.

    Raises:
        ValueError: there is no such cell, it failed, what its model was made from is no longer
            there or has changed since, or ``output`` exists (one line).
    """
    record = _read(folder)
    inputs = record["inputs"]
    if output.exists():
        raise ValueError(f"{output}: exists; allowed: a folder that is still to be made")
    _verify(folder, inputs)
    resolved = record["config"]["resolved"]
    # As in the evaluation's job: the number of threads decides in which order numbers are added.
    torch.set_num_threads(record["provenance"]["threads"])
    device = pick_device(resolved["runtime"]["device"])
    dtype = getattr(torch, record["provenance"]["dtype"])
    try:
        model = load_base(inputs["base"], dense=inputs["model"], device=device, dtype=dtype)
        if inputs["trained"] is not None:
            cell = Cell(**record["cell"])
            model = merge(cell, resolved, model, inputs["trained"], inputs["calibration"])
    except (OSError, ValueError, SafetensorError, SourceError) as error:
        raise ValueError(f"{folder}: {' '.join(str(error).split())}") from error
    if sparsity_report(model).layers != record["sparsity"]["layers"]:
        raise ValueError(
            f"{folder}: {inputs['trained'] or inputs['base']} gives other sparsities than were "
            "evaluated; run the cell again"
        )
    with whole(output) as temporary:
        model.save_pretrained(temporary)
        load_tokenizer(inputs["model"]).save_pretrained(temporary)


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


def _read(folder: Path) -> dict:
    path = folder / "record.json"
    if not path.is_file():
        raise ValueError(
            f"{folder}: no cell; allowed: {CELLS}/<model>/<pruner>-<pattern>/"
            f"<repair>[@<budget>]/seed<k>; or all results with --to {', '.join(FORMATS)}"
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


def default_output(folder: Path) -> Path:
    """Where a cell's model goes if nothing else is said."""
    parts = folder.parts
    below = parts[parts.index("cells") + 1 :] if "cells" in parts else parts[-1:]
    return EXPORTS.joinpath(*below)


def main() -> None:
    parser = argparse.ArgumentParser(
        description="Write a cell's sparse model as a transformers folder; or, with --to, the "
        "results of all cells in a format that other tools read."
    )
    parser.add_argument(
        "cell",
        type=Path,
        metavar="CELL",
        help=f"folder below {CELLS}; with --to the folder that holds cells/",
    )
    parser.add_argument("out", type=Path, metavar="OUT", nargs="?", help=f"else below {EXPORTS}")
    add_options(parser)
    # What is optional may stand between the folders.
    arguments = parser.parse_intermixed_args()
    if arguments.to is not None:
        export_or_exit(arguments.cell, arguments.out, arguments.to, arguments.organization)
        return
    if arguments.organization is not None:
        sys.exit("--organization: allowed with --to every-eval-ever alone")
    output = arguments.out or default_output(arguments.cell)
    try:
        export(arguments.cell, output)
    except ValueError as error:
        sys.exit(str(error))
    print(output)
