"""What was trained, merged into a plain model again."""

from collections.abc import Callable
from pathlib import Path

from safetensors.torch import load_file
from torch import nn

from baselines.pruning.driver import prune
from baselines.pruning.layers import zero_fractions
from baselines.pruning.pattern import Pattern
from baselines.repair import build_repair
from bench.cells import Cell


def merge(
    cell: Cell, resolved: dict, base: nn.Module, trained: str, calibration: str | None
) -> nn.Module:
    """The cell's model: its base with what was trained merged into it, in place.

    Args:
        cell: whose model it is.
        resolved: its resolved configuration.
        base: the pruned model.
        trained: folder of the training.
        calibration: tokens to re-prune with, or None for a pruner that needs none.
    """
    repair = build_repair(cell.repair, pattern=Pattern.parse(cell.pattern), **resolved["repair"])
    reprune = repruner(cell, resolved["pruning"], base, calibration)
    return repair.merge(repair.load(base, Path(trained)), reprune).eval()


def repruner(
    cell: Cell, options: dict, base: nn.Module, calibration: str | None
) -> Callable[[nn.Module], None]:
    """Prunes a merged model as its base was pruned, with these options.

    Where that was not uniform, each layer becomes as sparse as it is in ``base``: an allocation
    made anew from the merged model would be another one. (SparseGPT rounds in each block of
    columns: it can miss by one weight a block.)
    """
    target = {"pattern": cell.pattern}
    if options.get("allocation", "uniform") != "uniform":
        target = {"sparsity": zero_fractions(base)}
        options = {name: value for name, value in options.items() if name != "allocation"}

    def reprune(model: nn.Module) -> None:
        device = next(model.parameters()).device
        tokens = load_file(calibration)["input_ids"].to(device) if calibration else None
        prune(model, cell.pruner, **target, calibration=tokens, **options)

    return reprune
