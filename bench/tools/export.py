"""A cell's sparse model as a folder that travels (``make export CELL=...``).

With `dense`, a plain ``transformers`` folder; with `bitmask`, one whose sparse matrices are masks
and values, which ``seft.storage.files.load_bitmask`` reads. Beside the weights: the tokenizer, and
a model card made of the cell's record.

With ``--to`` the results of all cells, in a format of others (:mod:`bench.tools.formats`).
"""

import sys
from argparse import Namespace
from datetime import UTC, datetime
from pathlib import Path

from bench.files import whole
from bench.models.loading import load_tokenizer
from bench.tools.arguments import Parser
from bench.tools.card import model_card
from bench.tools.cell_model import CELLS, NoCellError, load_cell, read_cell
from bench.tools.formats.every_eval_ever import every_eval_ever
from bench.tools.formats.write import FORMATS, export_results
from bench.typed import NAME
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
    options = parser.add_argument_group("results in a format of others")
    options.add_argument("--to", metavar="FORMAT", help=f"one of {', '.join(FORMATS)}")
    options.add_argument(
        "--organization",
        metavar="NAME",
        help="who ran the benchmark, by the name on the hub; every-eval-ever asks for it, and has "
        "`unknown` without",
    )
    # What is optional may stand between the folders.
    given = parser.parse_intermixed_args()
    try:
        print(_export_model(given) if given.to is None else _export_results(given))
    except NoCellError as error:
        sys.exit(f"{error}; or all results with --to {', '.join(FORMATS)}")
    except (OSError, ValueError) as error:
        sys.exit(str(error))


def _export_model(given: Namespace) -> Path:
    """Write a cell's model as the arguments say; where it is then."""
    if given.organization is not None:
        raise ValueError("--organization: allowed with --to every-eval-ever alone")
    output = given.out or default_output(given.cell)
    export(given.cell, output, given.format or STORAGES[0])
    return output


def _export_results(given: Namespace) -> str:
    """Write the results of all cells as the arguments say; what was written, and where."""
    form, organization = given.to, given.organization
    if given.format is not None:
        raise ValueError("--format: allowed without --to")
    if form not in FORMATS:
        raise ValueError(f"--to {form}: allowed: {', '.join(FORMATS)}")
    if organization is not None and FORMATS[form] is not every_eval_ever:
        raise ValueError(f"--organization: {form} has no place for it")
    if organization is not None and not NAME.fullmatch(organization):
        raise ValueError(f"--organization {organization}: allowed: letters, digits, '.', '_', '-'")
    output = given.out or given.cell / "export" / form
    count, left_out = export_results(given.cell, form, output, datetime.now(UTC), organization)
    for line in left_out:
        print(f"left out: {line}", file=sys.stderr)
    return f"{output}: {count} files"
