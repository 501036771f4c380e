"""A cell's sparse model as a folder that travels (``make export CELL=...``).

With `dense`, a plain ``transformers`` folder; with `bitmask`, one whose sparse matrices are masks
and values, which ``seft.storage.files.load_bitmask`` reads. Beside the weights: the tokenizer, and
a model card made of the cell's record.

With ``--to`` the results of all cells, in a format of others (:mod:`bench.tools.formats`).
"""

import sys
from pathlib import Path

from bench.files import whole
from bench.models.loading import load_tokenizer
from bench.tools.arguments import Parser
from bench.tools.card import model_card
from bench.tools.cell_model import CELLS, NoCellError, load_cell, read_cell
from bench.tools.formats.write import FORMATS, add_options, export_or_exit
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
    parser = Parser(
        description="Write a cell's sparse model and its card to a folder; or, with --to, the "
        "results of all cells in a format that other tools read."
    )
    parser.add_argument(
        "cell",
        type=Path,
        metavar="CELL",
        help=f"folder below {CELLS}; with --to the folder that holds cells/",
    )
    parser.add_argument("out", type=Path, metavar="OUT", nargs="?", help=f"else below {EXPORTS}")
    parser.add_argument(
        "--format",
        choices=STORAGES,
        help="of the model's weights (default: dense); see docs/cost.md",
    )
    add_options(parser)
    # What is optional may stand between the folders.
    arguments = parser.parse_intermixed_args()
    if arguments.to is not None:
        if arguments.format is not None:
            sys.exit("--format: allowed without --to")
        export_or_exit(arguments.cell, arguments.out, arguments.to, arguments.organization)
        return
    if arguments.organization is not None:
        sys.exit("--organization: allowed with --to every-eval-ever alone")
    output = arguments.out or default_output(arguments.cell)
    try:
        export(arguments.cell, output, arguments.format or STORAGES[0])
    except NoCellError as error:
        sys.exit(f"{error}; or all results with --to {', '.join(FORMATS)}")
    except ValueError as error:
        sys.exit(str(error))
    print(output)
