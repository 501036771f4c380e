"""Train a repair on a pruned base, and merge it into a plain model again."""

import math
from pathlib import Path

from torch import nn

from baselines.pruning import Pattern
from baselines.repair import build_repair
from bench.bases import load_base
from bench.cells import Cell
from bench.config import Training
from bench.data.tokens import Packed
from bench.files import write_json
from bench.loading import pick_device, pick_dtype
from bench.measure import StageClock
from bench.merging import repruner
from bench.stages.outcome import LOG_FILE, Attempt, read_outcome, run_stage
from bench.training import Blocks, TrainingReport, train, validation_loss


def read_blocks(path: str) -> Blocks:
    packed = Packed.load(path)
    return Blocks(packed.input_ids, packed.labels)


def train_repair(
    model: str,
    base: str,
    blocks: str,
    output: str,
    *,
    method: str,
    pattern: str,
    options: dict,
    training: dict,
    seed: int,
    runtime: dict,
    attempt: Attempt,
) -> None:
    """Train ``method`` on the pruned base; write what differs from the base, and what it cost.

    Args:
        model: folder of the dense model.
        base: folder of the pruned model.
        blocks: packed blocks of the repair text.
        output: folder to create.
        method: name of the repair.
        pattern: that the base was pruned to.
        options: its options.
        training: budget and schedule, the same for every method.
        seed: moves the order of the blocks and the initialisation.
        runtime: device and dtype.
        attempt: the number of this attempt.
    """

    def work(folder: Path) -> dict:
        device = pick_device(runtime["device"])
        dtype = pick_dtype(runtime["dtype"], device)
        clock = StageClock(device)
        network = load_base(base, dense=model, device=device, dtype=dtype)
        repair = build_repair(method, pattern=Pattern.parse(pattern), **options)
        with clock.computing():
            network = repair.wrap(network, seed=seed)
            report = train(
                network, repair, read_blocks(blocks), Training(**training), seed=seed, dtype=dtype
            )
        repair.save(network, folder)
        write_json(folder / LOG_FILE, report.log)
        return {**clock.costs(), **_budget(network, repair, report, clock.seconds)}

    run_stage("repair", output, attempt, work, needs=(base,))


def _budget(model: nn.Module, repair, report: TrainingReport, seconds: float) -> dict:
    return {
        "trainable_parameters": repair.trainable_parameters(model),
        "tokens": report.tokens,
        "loss_tokens": report.loss_tokens,
        "steps": report.steps,
        "batch_order": report.batch_order,
        "tokens_per_second": report.tokens / seconds,
        "seconds_evolving": repair.seconds_evolving(model),
    }


def try_learning_rate(
    cell: Cell,
    model: str,
    base: str,
    blocks: str,
    validation: str,
    calibration: str | None,
    output: str,
    *,
    options: dict,
    training: dict,
    pruning: dict,
    runtime: dict,
) -> None:
    """One trial of the sweep: train, merge, and write the merged model's validation loss.

    A training that diverges is a trial too, with a loss of null.

    Args:
        cell: what is repaired how, and the seed of the trial.
        model: folder of the dense model.
        base: folder of the pruned model.
        blocks: packed blocks to train on.
        validation: packed blocks to validate on.
        calibration: tokens to re-prune with, or None for a pruner that needs none.
        output: JSON file to write.
        options: the repair's options, with the learning rate to try.
        training: budget and schedule.
        pruning: the pruner's options.
        runtime: device and dtype.

    Raises:
        RuntimeError: the base could not be pruned.
    """
    error = read_outcome(base)["error"]
    if error is not None:
        raise RuntimeError(f"{base}: {error['class']}: {error['message']}")
    device = pick_device(runtime["device"])
    dtype = pick_dtype(runtime["dtype"], device)
    settings = Training(**training)
    network = load_base(base, dense=model, device=device, dtype=dtype)
    held_out = read_blocks(validation)
    before = validation_loss(network, held_out, settings.batch_size)
    repair = build_repair(cell.repair, pattern=Pattern.parse(cell.pattern), **options)
    reprune = repruner(
        network,
        pruner=cell.pruner,
        pattern=cell.pattern,
        options=pruning,
        calibration=calibration,
    )
    network = repair.wrap(network, seed=cell.seed)
    try:
        train(network, repair, read_blocks(blocks), settings, seed=cell.seed, dtype=dtype)
    except FloatingPointError:
        after = None
    else:
        merged = repair.merge(network, reprune).eval()
        after = validation_loss(merged, held_out, settings.batch_size)
    result = {
        "model": cell.model,
        "pruner": cell.pruner,
        "pattern": cell.pattern,
        "repair": cell.repair,
        "learning_rate": options["learning_rate"],
        "base_validation_loss": before,
        "validation_loss": after if after is not None and math.isfinite(after) else None,
    }
    write_json(output, result)
