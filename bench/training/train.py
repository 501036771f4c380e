"""One training set-up for every repair: same data, order, budget and schedule."""

import gc
import hashlib
import math
import sys
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from tempfile import TemporaryDirectory
from typing import TypeVar

import torch
from torch import nn
from torch.utils.data import Dataset
from transformers import ProgressCallback

from baselines.repair.base import Repair
from baselines.repair.own_loop import OwnLoop
from bench.config.training import Training
from bench.data.tokens import IGNORED, Blocks
from bench.models.loading import short_attention
from bench.training.checkpoints import Checkpoints
from bench.training.loss import next_token_loss
from bench.training.own_loop import OwnLoopTrainer
from bench.training.processes import count, everyone
from bench.training.trainer import FiniteLoss, OnOneDevice, Progress, RepairTrainer

Result = TypeVar("Result")

# Entries of a log, about; of a training that goes over its text several times at least one a time.
LOGGED = 48


class Served(Dataset):
    """Blocks as a process of a training is served them.

    Attributes:
        order: numbers of the blocks served to it so far.
    """

    def __init__(self, blocks: Blocks):
        self.blocks = blocks
        self.order: list[int] = []

    def __len__(self) -> int:
        return len(self.blocks)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        self.order.append(int(index))
        block = self.blocks[index]
        # No token predicts the first, but the Trainer counts it where the class of a model does not
        # tell it that labels are shifted (CTRLLMHeadModel), and would divide the loss by too many.
        return block | {"labels": block["labels"].index_fill(0, torch.tensor(0), IGNORED)}

    def digest(self, micro_batch: int) -> str:
        """SHA-256 of the blocks served so far to all processes, in their order.

        Args:
            micro_batch: blocks that each process is served for a forward pass.
        """
        digest = hashlib.sha256()
        orders = everyone(self.order)
        for start in range(0, len(self.order), micro_batch):
            for order in orders:
                for index in order[start : start + micro_batch]:
                    for values in self.blocks[index].values():
                        digest.update(values.numpy().tobytes())
        return digest.hexdigest()


@dataclass(frozen=True)
class TrainingReport:
    """What a training did.

    Attributes:
        steps: optimizer steps that each number that trains has taken.
        tokens: all that the model saw, or each part of it that trains by itself.
        loss_tokens: those of them that count in the loss of the next token.
        batch_order: SHA-256 of the blocks in the order in which they were served: two trainings
            with the same one saw the same tokens in the same order.
        processes: that shared it.
        micro_batch: blocks a forward pass of a process.
        gradient_accumulation: forward passes an optimizer step.
        resumed: the steps at which it was taken up again after an interruption.
        log: step, loss (mean since the entry before, or since the training was taken up) and
            learning rate.
    """

    steps: int
    tokens: int
    loss_tokens: int
    batch_order: str
    processes: int
    micro_batch: int
    gradient_accumulation: int
    resumed: list[int]
    log: list[dict]


def train(
    model: nn.Module,
    repair: Repair,
    blocks: Blocks,
    settings: Training,
    *,
    seed: int,
    dtype: torch.dtype,
    micro_batch: int | None = None,
    checkpoints: Checkpoints | None = None,
    dense: nn.Module | None = None,
) -> TrainingReport:
    """Train what ``repair`` made trainable in ``model``, in place.

    Taken up from the last of ``checkpoints``, on the same device and with the same micro-batch,
    it ends with the same weights, bit for bit, as if it had not been interrupted. Several processes
    that call this together share it out: each batch, and what the repair shards.

    Args:
        model: what ``repair.wrap`` returned, on its device.
        repair: gives the optimizer and the callbacks.
        blocks: exactly ``settings.blocks`` blocks; ``seed`` moves their order.
        settings: budget and schedule.
        seed: of the order of the blocks and of dropout.
        dtype: bfloat16 trains under autocast; float32 does not.
        micro_batch: blocks a forward pass of a process; times the processes it divides
            ``settings.batch_size``, its default. Fewer take more passes an optimizer step: the
            batch that the step is of stays the same.
        checkpoints: where to go on from, and to leave checkpoints; none without.
        dense: the dense model, in the host's memory, for a repair that needs it.

    Raises:
        FloatingPointError: when the loss is not finite.
        SystemExit: the process was asked to end; the last checkpoint is of this moment.
    """
    if len(blocks) != settings.blocks:
        raise ValueError(f"{len(blocks)} blocks; {settings.blocks} are trained on")
    micro_batch = micro_batch or settings.batch_size // count()
    passes = settings.batch_size // (micro_batch * count())
    accumulation = passes * settings.gradient_accumulation
    device = next(model.parameters()).device
    short_attention(model, settings.length, device)
    if dense is not None:
        dense.requires_grad_(False)
        short_attention(dense, settings.length, device)
    trainer_class, rounds = RepairTrainer, 1
    if isinstance(repair, OwnLoop):
        trainer_class, rounds = OwnLoopTrainer, repair.rounds(model)
    elif count() > 1:
        # What it imports takes seconds, and most trainings need none of it.
        from bench.training.sharded import ShardedTrainer

        trainer_class = ShardedTrainer
        repair.shard(model, dtype)
    served = Served(blocks)
    with (
        TemporaryDirectory(dir=checkpoints and checkpoints.folder) as scratch,
        checkpoints.heeding_sigterm() if checkpoints else nullcontext(),
    ):
        trainer = trainer_class(
            repair,
            dtype,
            dense=dense,
            model=model,
            args=OnOneDevice(
                output_dir=everyone(scratch)[0],
                max_steps=settings.steps,
                per_device_train_batch_size=micro_batch,
                gradient_accumulation_steps=accumulation,
                activation_checkpointing=settings.activation_checkpointing,
                activation_checkpointing_kwargs={"use_reentrant": False},
                learning_rate=repair.options.learning_rate,
                weight_decay=repair.options.weight_decay,
                lr_scheduler_type="cosine_with_min_lr",
                lr_scheduler_kwargs={"min_lr_rate": settings.final_rate},
                warmup_steps=math.ceil(settings.warmup * settings.steps),
                max_grad_norm=settings.clip,
                use_cpu=device.type == "cpu",
                seed=seed,
                data_seed=seed,
                save_strategy="no",
                report_to="none",
                logging_steps=max(1, settings.steps // max(1, LOGGED // rounds)),
                logging_nan_inf_filter=False,
                dataloader_pin_memory=device.type == "cuda",
                remove_unused_columns=False,
                label_names=["labels"],
            ),
            train_dataset=served,
            compute_loss_func=next_token_loss,
            optimizers=(repair.optimizer(model), None),
            callbacks=[FiniteLoss(), *repair.callbacks(), *([checkpoints] if checkpoints else [])],
        )
        trainer.remove_callback(ProgressCallback)
        trainer.add_callback(Progress)
        trainer.train(resume_from_checkpoint=checkpoints and checkpoints.last)
    return TrainingReport(
        steps=trainer.state.global_step // rounds,
        tokens=blocks.input_ids.numel(),
        loss_tokens=int((blocks.labels[:, 1:] != IGNORED).sum()),
        batch_order=served.digest(micro_batch),
        processes=count(),
        micro_batch=micro_batch,
        gradient_accumulation=accumulation,
        resumed=checkpoints.resumed if checkpoints else [],
        log=[
            {"step": entry["step"], "loss": entry["loss"], "learning_rate": entry["learning_rate"]}
            for entry in trainer.state.log_history
            if "loss" in entry
        ],
    )


def in_memory(micro_batch: int, train: Callable[[int], Result]) -> Result:
    """What ``train`` returns for the largest micro-batch that the device has memory for.

    Args:
        micro_batch: to begin with; halved (where it is odd: divided by its smallest divisor) each
            time that the device runs out of memory.
        train: a training from its beginning, or from its last checkpoint.

    Raises:
        torch.OutOfMemoryError: a single block is too much.
    """
    while True:
        try:
            return train(micro_batch)
        except torch.OutOfMemoryError as error:
            if micro_batch == 1:
                raise
            smaller = max(n for n in range(1, micro_batch) if micro_batch % n == 0)
            reason = str(error).partition(".")[0]
            print(f"{reason}: micro-batch {smaller} instead of {micro_batch}", file=sys.stderr)
        # Here the error is forgotten, and with it the frames that held what filled the device.
        micro_batch = smaller
        gc.collect()
        torch.cuda.empty_cache()
