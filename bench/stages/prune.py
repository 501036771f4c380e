"""Prune a model to a base that many repairs start from."""

from pathlib import Path

import torch
from safetensors.torch import load_file

from baselines.pruning.driver import prune
from bench.jobs.measure import StageClock
from bench.jobs.outcome import Attempt, run_stage
from bench.models.bases import save_base
from bench.models.loading import load_model, pick_device, pick_dtype


def prune_base(
    model: str,
    calibration: str | None,
    output: str,
    *,
    pruner: str,
    pattern: str,
    options: dict,
    runtime: dict,
    attempt: Attempt,
) -> None:
    """Write the pruned model (see :mod:`bench.models.bases`), with ``stage.json`` beside it.

    Args:
        model: folder of the dense model.
        calibration: tokens of the calibration text, or None for a pruner that needs none.
        output: folder to create.
        pruner: name of the pruner.
        pattern: ``s60`` or ``2of4``.
        options: the pruner's options.
        runtime: device and dtype.
        attempt: the number of this attempt.
    """

    def work(folder: Path) -> dict:
        device = pick_device(runtime["device"])
        clock = StageClock(device)
        # It stays in the host's memory: the device holds one block of it at a time.
        network = load_model(model, torch.device("cpu"), pick_dtype(runtime["dtype"], device))
        tokens = load_file(calibration)["input_ids"] if calibration else None
        with clock.computing(network):
            report = prune(
                network, pruner, pattern=pattern, calibration=tokens, device=device, **options
            )
        save_base(network, folder, dense=model, pruner=pruner, device=device)
        return {**clock.costs(), "sparsity": report.sparsity}

    run_stage("prune", output, attempt, work)
