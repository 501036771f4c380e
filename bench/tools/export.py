"""A cell's sparse model as a folder that travels (``make export CELL=...``).

With `dense`, a plain ``transformers`` folder; with `bitmask`, one whose sparse matrices are masks
and values, which ``seft.storage.files.load_bitmask`` reads. Beside the weights: the tokenizer, and
a model card made of the cell's record.
"""

import argparse
import sys
from pathlib import Path

from bench.files import whole
from bench.models.loading import load_tokenizer
from bench.tools.card import model_card
from bench.tools.cell_model import CELLS, load_cell, read_cell
from seft.storage import STORAGES
from seft.storage.files import save_bitmask

EXPORTS = Path("results/export")
# Of one file; what is larger is split.
LARGEST_FILE = "5GB"


def export(folder: Path, output: Path, storage: str = "dense") -> None:
    """Merge a cell's model as its evaluation did, and write it with tokenizer and model card.

    Args:
        folder: the cell's, with its ``record.json``; the working folder is the one that the
            workflow ran in.
        output: folder to create, whole or not at all.
        storage: of the weights: ``dense``, as ``transformers`` writes them, or ``bitmask``.

    Raises:
        ValueError: there is no such cell, it failed, what its model was made from is no longer
            there or has changed since, or ``output`` exists (one line).
    """
    record = read_cell(folder)
    if output.exists():
        raise ValueError(f"{output}: exists; allowed: a folder that is still to be made")
    model = load_cell(folder, record)
    with whole(output) as temporary:
        save_weights(model, temporary, storage)
        load_tokenizer(record["inputs"]["model"]).save_pretrained(temporary)
        model_card(record, storage).save(temporary / "README.md")


def save_weights(model, folder: Path, storage: str) -> None:
    """Write a model's weights, with its configuration, to a folder."""
    if storage == "bitmask":
        save_bitmask(model, folder, max_shard_size=LARGEST_FILE)
    else:
        model.save_pretrained(folder, max_shard_size=LARGEST_FILE)


def default_output(folder: Path) -> Path:
    """Where a cell's model goes if nothing else is said."""
    parts = folder.parts
    below = parts[parts.index("cells") + 1 :] if "cells" in parts else parts[-1:]
    return EXPORTS.joinpath(*below)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("cell", type=Path, metavar="CELL", help=f"folder below {CELLS}")
    parser.add_argument("out", type=Path, metavar="OUT", nargs="?", help=f"else below {EXPORTS}")
    parser.add_argument(
        "--format", choices=STORAGES, default=STORAGES[0], help="of the weights (default: dense)"
    )
    arguments = parser.parse_args()
    output = arguments.out or default_output(arguments.cell)
    try:
        export(arguments.cell, output, arguments.format)
    except ValueError as error:
        sys.exit(str(error))
    print(output)
