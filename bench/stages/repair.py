"""Train a repair on a pruned base, and merge it into a plain model again."""

import math
from functools import partial
from pathlib import Path

from torch import nn

from bench.data.tokens import Blocks
from bench.files import remove, write_json
from bench.jobs.outcome import Attempt, read_outcome, run_stage
from bench.models.merging import repruner
from bench.origin import identity, verify
from bench.stages.inputs import of_trial, verify_tokens
from bench.stages.shared_repair import check_gpus, train_in_processes
from bench.stages.training_job import TrainingJob, train_once
from bench.training.loss import validation_loss
from bench.training.train import in_memory


def train_repair(job: TrainingJob, attempt: Attempt, processes: int = 1) -> None:
    """Train a repair on its base; write what differs from the base, and what it cost.

    Args:
        job: what to train.
        attempt: the number of this attempt.
        processes: that share the training, each on a device of its own.

    Raises:
        OriginError: model, base or blocks are not what is asked for.
    """
    job.verify()

    def work(folder: Path) -> dict:
        check_gpus(processes, job)
        here = train_once if processes == 1 else partial(train_in_processes, processes)
        return in_memory(job.micro_batch(processes), partial(here, job, folder))

    run_stage("repair", job.output, attempt, work, made_from=job.made_from(), needs=(job.base,))
    if read_outcome(job.output)["error"] is None:
        remove(Path(job.interrupted))


def try_learning_rate(job: TrainingJob, validation: str, calibration: str | None) -> None:
    """One trial of the sweep: train, merge, and write the merged model's validation loss.

    A training that diverges is a trial too, with a loss of null.

    Args:
        job: what to train, with the learning rate to try.
        validation: packed blocks to validate on.
        calibration: tokens to re-prune with, or None for a pruner that needs none.

    Raises:
        OriginError: model, base, blocks or tokens are not what is asked for.
        RuntimeError: the base could not be pruned.
    """
    job.verify()
    packing = job.config["packing"]["validation"]
    verify(validation, {"model": identity(job.model), "packing": packing})
    tokens = verify_tokens(calibration, job.config, model=job.model)
    verify(job.base, tokens)
    origin = of_trial(job.cell, job.config, code=job.code) | job.made_from()
    origin |= {"validation": identity(validation), "tokens": tokens.get("tokens")}
    error = read_outcome(job.base)["error"]
    if error is not None:
        raise RuntimeError(f"{job.base}: {error['class']}: {error['message']}")
    cell, batch_size = job.cell, job.settings.batch_size
    held_out = Blocks.load(validation)
    network = job.load_base()
    before = validation_loss(network, held_out, batch_size)
    repair = job.repair()
    reprune = repruner(cell, job.config["pruning"], network, calibration)
    # Each training begins from a base of its own.
    del network

    def trained(micro_batch: int) -> nn.Module:
        network = repair.wrap(job.load_base(), seed=cell.seed)
        job.train(network, repair, micro_batch)
        return network

    try:
        network = in_memory(job.micro_batch(), trained)
    except FloatingPointError:
        after = None
    else:
        merged = repair.merge(network, reprune).eval()
        after = validation_loss(merged, held_out, batch_size)
    result = {
        "model": cell.model,
        "pruner": cell.pruner,
        "pattern": cell.pattern,
        "budget": cell.budget,
        "tokens": job.settings.tokens,
        "repair": cell.repair,
        "learning_rate": job.config["repair"]["learning_rate"],
        "base_validation_loss": before,
        "validation_loss": after if after is not None and math.isfinite(after) else None,
        "made_from": origin,
    }
    write_json(job.output, result)
