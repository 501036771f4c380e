"""Prune a model to a base that many repairs start from."""

from pathlib import Path

import torch
from safetensors.torch import load_file

from baselines.pruning.driver import prune
from bench.cells import Cell
from bench.jobs.measure import StageClock
from bench.jobs.outcome import Attempt, run_stage
from bench.models.bases import save_base
from bench.models.loading import load_model, pick_device, pick_dtype
from bench.origin import verify
from bench.stages.inputs import of_base, verify_tokens


def prune_base(
    cell: Cell,
    config: dict,
    *,
    model: str,
    calibration: str | None,
    code: str | None,
    output: str,
    attempt: Attempt,
) -> None:
    """Write the pruned model (see :mod:`bench.models.bases`), with ``stage.json`` beside it.

    Args:
        cell: one that starts from it.
        config: what decides it (:func:`bench.records.record.prune_config`).
        model: folder of the dense model.
        calibration: tokens of the calibration text, or None for a pruner that needs none.
        code: listing of the source files that decide it.
        output: folder to create.
        attempt: the number of this attempt.

    Raises:
        OriginError: model or tokens are not what is asked for.
    """
    verify(model, {"source": config["model"]})
    tokens = verify_tokens(calibration, config, model=model)

    def work(folder: Path) -> dict:
        device = pick_device(config["runtime"]["device"])
        clock = StageClock(device)
        # It stays in the host's memory: the device holds one block of it at a time.
        dtype = pick_dtype(config["runtime"]["dtype"], device)
        network = load_model(model, torch.device("cpu"), dtype)
        ids = load_file(calibration)["input_ids"] if calibration else None
        with clock.computing(network):
            report = prune(
                network,
                cell.pruner,
                pattern=cell.pattern,
                calibration=ids,
                device=device,
                **config["pruning"],
            )
        save_base(network, folder, dense=model, pruner=cell.pruner, device=device)
        return {**clock.costs(), "sparsity": report.sparsity}

    origin = of_base(cell, config, model=model, code=code) | tokens
    run_stage("prune", output, attempt, work, made_from=origin)
