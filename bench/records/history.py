"""``history.json.gz``, beside each record: how a cell's training went, and what it changed.

It holds what the figures need of the checkpoints, so that they can be drawn without them:

* ``cell``: whose it is. What follows is empty where nothing was trained, it failed, or the log of
  its evaluation says why there is none.
* ``training``: step, loss and learning rate, as logged; none of a training whose loss is not that
  of the next token, which no axis could show beside others.
* ``evolution``: for each evolution of each layer its ``step``, the number of the ``layer`` in
  ``layers``, the share of the grown weights that lay outside the mask (``reactivated``; null where
  none grew), and the share of the base's mask that is still in the mask (``overlap``).
* ``layers``: for each layer the relative ``change`` of its weight, and the shares of its positions
  that ``entered`` and that ``left`` the mask.
"""

from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

import torch
from torch import Tensor, nn

from baselines.pruning.layers import prunable_layers
from bench.cells import Cell
from bench.files import advising, read_json_lines, write_json_lines
from bench.records.record import RETRY, check_place
from bench.records.schema import HISTORIES
from bench.typed import read_as

# More than a figure can show; a training of many evolutions would make a large file.
EVOLUTIONS = 32


def make_history(
    training: list[dict],
    evolution: list[dict],
    before: Iterable[tuple[str, Tensor]],
    model: nn.Module,
) -> dict:
    """What is kept of a training.

    Args:
        training: the training's log.
        evolution: one entry an evolution and layer, as ``seft`` logs them; empty for a method
            whose positions stay.
        before: the pruned model's weights, layer by layer.
        model: the model that the training, merged, made of it.
    """
    after = {name: layer.weight for name, layer in prunable_layers(model).items()}
    layers = {name: _change(weight.to(after[name]), after[name]) for name, weight in before}
    return {
        "training": training,
        "evolution": _evolution(evolution, list(layers)),
        "layers": layers,
    }


def sparsity_ranges(evolution: list[dict]) -> dict[str, list[float]] | None:
    """The lowest and the highest sparsity of each layer over all its evolutions.

    None where nothing evolved. The history leaves evolutions out; a record leaves none out.
    """
    sparsities: dict[str, list[float]] = {}
    for entry in evolution:
        sparsities.setdefault(entry["layer"], []).append(entry["sparsity"])
    return {layer: [min(values), max(values)] for layer, values in sparsities.items()} or None


def no_history() -> dict:
    """That of a cell that was not trained, or failed, or whose history cannot be made."""
    return {"training": [], "evolution": _evolution([], []), "layers": {}}


def write_history(path: str | Path, cell: Cell, history: dict) -> None:
    write_json_lines(path, [{"cell": asdict(cell), **history}])


def read_histories(paths: Iterable[str | Path]) -> dict[Cell, dict]:
    """Histories by cell.

    Raises:
        UnreadableError: a file is damaged.
    """
    return dict(map(_read_history, paths))


def _read_history(path: str | Path) -> tuple[Cell, dict]:
    with advising(RETRY):
        (history,) = read_as(HISTORIES, path, read_json_lines)
        cell = history.pop("cell")
        check_place(path, cell)
        return Cell(**cell), history


def _evolution(log: list[dict], layers: list[str]) -> dict[str, list]:
    by_layer: dict[str, list[dict]] = {}
    for entry in log:
        by_layer.setdefault(entry["layer"], []).append(entry)
    kept = []
    for entries in by_layer.values():
        # The last one, and every so many before it.
        kept += entries[::-1][:: -(-len(entries) // EVOLUTIONS)][::-1]
    kept.sort(key=lambda entry: (entry["step"], layers.index(entry["layer"])))
    return {
        "step": [entry["step"] for entry in kept],
        "layer": [layers.index(entry["layer"]) for entry in kept],
        "reactivated": [
            _rounded(entry["reactivated"] / entry["grown"]) if entry["grown"] else None
            for entry in kept
        ],
        "overlap": [_rounded(entry["overlap"]) for entry in kept],
    }


@torch.no_grad()
def _change(before: Tensor, after: Tensor) -> dict[str, float]:
    """Norm of the change relative to the norm before, and the shares of the positions."""
    was, stays = before != 0, after != 0
    norm = torch.linalg.vector_norm(before, dtype=torch.float32).item()
    change = torch.linalg.vector_norm(after.float() - before.float()).item()
    return {
        "change": _rounded(change / norm) if norm else None,
        "entered": _rounded((stays & ~was).count_nonzero().item() / was.numel()),
        "left": _rounded((was & ~stays).count_nonzero().item() / was.numel()),
    }


def _rounded(value: float) -> float:
    return float(f"{value:.4g}")
