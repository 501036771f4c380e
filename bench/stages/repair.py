"""Train a repair on a pruned base, and merge it into a plain model again."""

import math
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from torch import nn

from baselines.pruning.pattern import Pattern
from baselines.repair import build_repair
from baselines.repair.base import Repair
from bench.cells import Cell
from bench.config import Training
from bench.data.tokens import Packed
from bench.files import remove, write_json
from bench.jobs.measure import StageClock
from bench.jobs.outcome import LOG_FILE, Attempt, read_outcome, run_stage
from bench.models.bases import BASE_FILE, load_base
from bench.models.loading import pick_device, pick_dtype
from bench.models.merging import repruner
from bench.sources.manifest import MANIFEST
from bench.stages.shared_repair import train_in_processes
from bench.training.blocks import Blocks
from bench.training.checkpoints import Checkpoints, digest
from bench.training.loss import validation_loss
from bench.training.processes import count, rank
from bench.training.train import TrainingReport, in_memory, train


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
    processes: int = 1,
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
        processes: that share the training, each on a device of its own.
    """
    job = TrainingJob(
        model=model,
        base=base,
        blocks=blocks,
        interrupted=f"{output}.training",
        method=method,
        pattern=pattern,
        options=options,
        training=training,
        seed=seed,
        runtime=runtime,
        code=code,
        checkpoint_minutes=checkpoint_minutes,
    )

    def work(folder: Path) -> dict:
        if processes == 1:
            train_here = partial(train_once, job, folder)
        else:
            train_here = partial(train_in_processes, processes, job, folder)
        return in_memory(training["batch_size"] // processes, train_here)

    run_stage("repair", output, attempt, work, needs=(base,))
    if read_outcome(output)["error"] is None:
        remove(Path(job.interrupted))


@dataclass(frozen=True, kw_only=True)
class TrainingJob:
    """What :func:`train_repair` is given that decides a training's result; JSON can hold it."""

    model: str
    base: str
    blocks: str
    interrupted: str
    method: str
    pattern: str
    options: dict
    training: dict
    seed: int
    runtime: dict
    code: list[str]
    checkpoint_minutes: float


def train_once(job: TrainingJob, folder: str | Path, micro_batch: int) -> dict:
    """Train, or go on from a checkpoint; write the result into ``folder``, return what it cost.

    Processes that have joined share the training; the first one writes, and what it says of memory
    and time is its own.

    Args:
        job: what to train.
        folder: an existing one.
        micro_batch: blocks a forward pass of a process, at most.
    """
    device = pick_device(job.runtime["device"])
    dtype = pick_dtype(job.runtime["dtype"], device)
    repair = build_repair(job.method, pattern=Pattern.parse(job.pattern), **job.options)
    start = digest(
        [Path(job.model) / MANIFEST, Path(job.base) / BASE_FILE, job.blocks, *job.code],
        method=job.method,
        pattern=job.pattern,
        options=job.options,
        training=job.training,
        seed=job.seed,
        dtype=str(dtype),
        processes=count(),
    )
    clock = StageClock(device)
    network = load_base(job.base, dense=job.model, device=device, dtype=dtype)
    checkpoints = Checkpoints(job.interrupted, start, job.checkpoint_minutes, clock)
    with clock.computing(network):
        network = repair.wrap(network, seed=job.seed)
        report = train(
            network,
            repair,
            read_blocks(job.blocks),
            Training(**job.training),
            seed=job.seed,
            dtype=dtype,
            micro_batch=min(micro_batch, checkpoints.micro_batch or micro_batch),
            checkpoints=checkpoints,
        )
    repair.save(network, folder)
    if rank() == 0:
        write_json(Path(folder) / LOG_FILE, report.log)
    return {**clock.costs(), **_budget(network, repair, report, clock)}


def _budget(model: nn.Module, repair: Repair, report: TrainingReport, clock: StageClock) -> dict:
    return {
        "trainable_parameters": repair.trainable_parameters(model),
        "tokens": report.tokens,
        "loss_tokens": report.loss_tokens,
        "steps": report.steps,
        "batch_order": report.batch_order,
        "processes": report.processes,
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
