"""Train a repair on a pruned base, and merge it into a plain model again."""

import math
from pathlib import Path

from torch import nn

from baselines.pruning import Pattern
from baselines.repair import build_repair
from baselines.repair.base import Repair
from bench.bases import BASE_FILE, load_base
from bench.cells import Cell
from bench.checkpoints import Checkpoints, digest
from bench.config import Training
from bench.data.tokens import Packed
from bench.files import remove, write_json
from bench.loading import pick_device, pick_dtype
from bench.measure import StageClock
from bench.merging import repruner
from bench.sources.manifest import MANIFEST
from bench.stages.outcome import LOG_FILE, Attempt, read_outcome, run_stage
from bench.training import Blocks, TrainingReport, in_memory, train, validation_loss


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
    code: list[str],
    checkpoint_minutes: float,
    attempt: Attempt,
) -> None:
    """Train ``method`` on the pruned base; write what differs from the base, and what it cost.

    Until it is over, its checkpoints lie in the folder ``<output>.training``.

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
        code: source files that decide the result.
        checkpoint_minutes: from one checkpoint to the next; 0: each step.
        attempt: the number of this attempt.
    """
    settings = Training(**training)
    interrupted = f"{output}.training"

    def work(folder: Path) -> dict:
        device = pick_device(runtime["device"])
        dtype = pick_dtype(runtime["dtype"], device)
        repair = build_repair(method, pattern=Pattern.parse(pattern), **options)
        start = digest(
            [Path(model) / MANIFEST, Path(base) / BASE_FILE, blocks, *code],
            method=method,
            pattern=pattern,
            options=options,
            training=training,
            seed=seed,
            dtype=str(dtype),
        )

        def trained(micro_batch: int) -> tuple[nn.Module, TrainingReport, StageClock]:
            clock = StageClock(device)
            network = load_base(base, dense=model, device=device, dtype=dtype)
            checkpoints = Checkpoints(interrupted, start, checkpoint_minutes, clock)
            with clock.computing():
                network = repair.wrap(network, seed=seed)
                report = train(
                    network,
                    repair,
                    read_blocks(blocks),
                    settings,
                    seed=seed,
                    dtype=dtype,
                    micro_batch=min(micro_batch, checkpoints.micro_batch or micro_batch),
                    checkpoints=checkpoints,
                )
            return network, report, clock

        network, report, clock = in_memory(settings.batch_size, trained)
        repair.save(network, folder)
        write_json(folder / LOG_FILE, report.log)
        return {**clock.costs(), **_budget(network, repair, report, clock)}

    run_stage("repair", output, attempt, work, needs=(base,))
    if read_outcome(output)["error"] is None:
        remove(Path(interrupted))


def _budget(model: nn.Module, repair: Repair, report: TrainingReport, clock: StageClock) -> dict:
    return {
        "trainable_parameters": repair.trainable_parameters(model),
        "tokens": report.tokens,
        "loss_tokens": report.loss_tokens,
        "steps": report.steps,
        "batch_order": report.batch_order,
        "micro_batch": report.micro_batch,
        "gradient_accumulation": report.gradient_accumulation,
        "resumed": report.resumed,
        "tokens_per_second": report.tokens / clock.computed()["seconds"],
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
    held_out = read_blocks(validation)
    network = load_base(base, dense=model, device=device, dtype=dtype)
    before = validation_loss(network, held_out, settings.batch_size)
    repair = build_repair(cell.repair, pattern=Pattern.parse(cell.pattern), **options)
    reprune = repruner(
        network,
        pruner=cell.pruner,
        pattern=cell.pattern,
        options=pruning,
        calibration=calibration,
    )
    # Each training begins from a base of its own.
    del network

    def trained(micro_batch: int) -> nn.Module:
        network = load_base(base, dense=model, device=device, dtype=dtype)
        network = repair.wrap(network, seed=cell.seed)
        train(
            network,
            repair,
            read_blocks(blocks),
            settings,
            seed=cell.seed,
            dtype=dtype,
            micro_batch=micro_batch,
        )
        return network

    try:
        network = in_memory(settings.batch_size, trained)
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
