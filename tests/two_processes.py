"""What test_processes.py lets several processes do together: ``python -m two_processes FOLDER``."""

import os
import signal
import sys
from pathlib import Path

import torch
from tiny import tiny_llama
from torch.distributed.elastic.multiprocessing.errors import record
from transformers import LlamaForCausalLM

import bench.training.train
from baselines.pruning import prune
from baselines.repair import build_repair
from bench.config.training import Training
from bench.data.tokens import Blocks
from bench.files import write_json
from bench.jobs.measure import StageClock
from bench.training.checkpoints import Checkpoints
from bench.training.processes import joined, rank
from bench.training.train import TrainingReport, train

SETTINGS = Training(
    mixture=[{"data": "x"}], length=8, batch_size=4, gradient_accumulation=2, steps=6
)
CPU = torch.device("cpu")


def dense(dtype: torch.dtype = torch.float32) -> LlamaForCausalLM:
    return tiny_llama(attention_bias=True, tie_word_embeddings=True).to(dtype)


def base(dtype: torch.dtype = torch.float32) -> LlamaForCausalLM:
    model = dense(dtype)
    prune(model, "magnitude", sparsity=0.5)
    return model


def blocks() -> Blocks:
    ids = torch.randint(0, 32, (SETTINGS.blocks, 8), generator=torch.Generator().manual_seed(1))
    labels = ids.clone()
    # Blocks differ in how many tokens count: a mean of means would not be the mean.
    labels[::2, :6] = -100
    return Blocks(ids, labels)


def run(
    folder: Path,
    method: str = "full",
    dtype: torch.dtype = torch.float32,
    objective: str = "next-token",
    **arguments,
) -> TrainingReport:
    """Train, and leave what was trained in ``folder``."""
    repair = build_repair(method, learning_rate=1e-2, objective=objective)
    model = repair.wrap(base(dtype), seed=0)
    beside = dense(dtype).eval() if repair.needs_dense else None
    report = train(
        model, repair, blocks(), SETTINGS, seed=0, dtype=dtype, dense=beside, **arguments
    )
    repair.save(model, folder)
    return report


def interrupted(folder: Path, first_step: int) -> TrainingReport:
    """The second process is asked to end in the step after ``first_step``; then go on."""
    loss, passes = bench.training.train.next_token_loss, iter(range(1000))

    def ending(*arguments, **keywords):
        if next(passes) == first_step * SETTINGS.gradient_accumulation and rank() == 1:
            os.kill(os.getpid(), signal.SIGTERM)
        return loss(*arguments, **keywords)

    def checkpoints() -> Checkpoints:
        return Checkpoints(folder / "checkpoints", "digest", 60, StageClock(CPU))

    bench.training.train.next_token_loss = ending
    try:
        run(folder, checkpoints=checkpoints())
    except SystemExit:
        return run(folder, checkpoints=checkpoints())


@record
def main() -> None:
    folder = Path(sys.argv[1])
    with joined(CPU):
        reports = {
            "full": run(folder / "full"),
            "micro": run(folder / "micro", micro_batch=1),
            "full-dense": run(folder / "full-dense", "full-dense"),
            "distill": run(folder / "distill", objective="distill"),
            "bfloat16": run(folder / "bfloat16", dtype=torch.bfloat16),
            "interrupted": interrupted(folder / "interrupted", 2),
        }
        if rank() == 0:
            write_json(folder / "reports.json", {k: vars(v) for k, v in reports.items()})


if __name__ == "__main__":
    main()
