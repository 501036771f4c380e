"""One training set-up for every repair: same data, order, budget and schedule."""

import gc
import hashlib
import math
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from tempfile import TemporaryDirectory
from typing import TypeVar

import torch
from torch import nn
from torch.autograd.function import once_differentiable
from torch.utils.data import Dataset
from transformers import ProgressCallback, TrainerCallback, TrainingArguments

from baselines.repair.base import Repair
from bench.config import Training
from bench.data.tokens import IGNORED
from bench.models.loading import short_attention
from bench.training.checkpoints import CheckpointingTrainer, Checkpoints
from bench.training.processes import count, everyone

Result = TypeVar("Result")


class Blocks(Dataset):
    """Packed blocks: ``input_ids`` and ``labels``, int64 of shape (blocks, length)."""

    def __init__(self, input_ids: torch.Tensor, labels: torch.Tensor):
        self.input_ids = input_ids
        self.labels = labels

    def __len__(self) -> int:
        return len(self.input_ids)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        return {"input_ids": self.input_ids[index], "labels": self.labels[index]}


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
        return self.blocks[index]

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


class CrossEntropy(torch.autograd.Function):
    """Summed cross-entropy of logits (tokens, vocabulary) and labels (tokens,), in float32.

    The gradient is made in the forward pass, a few rows at a time, in the logits' dtype: the
    float32 copies of all logits and their gradient, the largest tensors of a training step of a
    small model, are never made.
    """

    ROWS = 16

    @staticmethod
    def forward(ctx, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        gradient = torch.empty_like(logits)
        total = logits.new_zeros((), dtype=torch.float32)
        for start in range(0, len(logits), CrossEntropy.ROWS):
            rows = slice(start, start + CrossEntropy.ROWS)
            z, target = logits[rows].float(), labels[rows].unsqueeze(1)
            z -= z.amax(1, keepdim=True)
            total -= z.gather(1, target).sum()
            normaliser = z.exp_().sum(1, keepdim=True)
            total += normaliser.log().sum()
            z /= normaliser
            gradient[rows] = z.scatter_add_(1, target, torch.full_like(normaliser, -1.0))
        ctx.save_for_backward(gradient)
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_output: torch.Tensor):
        (gradient,) = ctx.saved_tensors
        # In place: the product would be one more tensor of the logits' size.
        return gradient.mul_(grad_output), None


def next_tokens(labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Which positions of (batch, length) are followed by a token that counts, and those tokens."""
    # The last position of a block predicts nothing.
    targets = nn.functional.pad(labels[:, 1:], (0, 1), value=IGNORED)
    counted = targets != IGNORED
    return counted, targets[counted]


@contextmanager
def counted_logits(model: nn.Module, labels: torch.Tensor) -> Iterator[None]:
    """Let ``model`` compute logits (tokens, vocabulary) at the positions that count, no others."""
    counted, _ = next_tokens(labels)
    hook = model.get_output_embeddings().register_forward_pre_hook(
        lambda _, inputs: (inputs[0][counted],)
    )
    try:
        yield
    finally:
        hook.remove()


def next_token_loss(outputs, labels: torch.Tensor, num_items_in_batch=None) -> torch.Tensor:
    """Mean loss of the next token over the labels that count, of :func:`counted_logits`."""
    _, targets = next_tokens(labels)
    count = len(targets) if num_items_in_batch is None else num_items_in_batch
    # A batch of prompts alone has no loss, not an undefined one.
    return CrossEntropy.apply(outputs.logits, targets) / torch.as_tensor(count).clamp(min=1)


class RepairTrainer(CheckpointingTrainer):
    """The Trainer, but for logits that nothing is done with.

    Args:
        repair: what is trained.
        dtype: bfloat16 computes the loss under autocast. The Trainer's own way to do that makes
            a float32 copy of all logits, and another of their gradient.
        **arguments: of the Trainer.
    """

    def __init__(self, repair: Repair, dtype: torch.dtype, **arguments):
        super().__init__(repair, **arguments)
        self.dtype = dtype

    def autocast_smart_context_manager(self, cache_enabled: bool | None = True):
        enabled = self.dtype != torch.float32
        return torch.autocast(
            self.args.device.type, self.dtype, enabled=enabled, cache_enabled=cache_enabled
        )

    def compute_loss(self, model, inputs, *args, **kwargs):
        with counted_logits(self.accelerator.unwrap_model(model), inputs["labels"]):
            return super().compute_loss(model, inputs, *args, **kwargs)


class Progress(ProgressCallback):
    """A bar that shows the loss, where the library's prints a line at each."""

    def on_log(self, args, state, control, logs=None, **kwargs):
        if self.training_bar is not None and "loss" in (logs or {}):
            self.training_bar.set_postfix(loss=logs["loss"], refresh=False)


class FiniteLoss(TrainerCallback):
    """Ends a training whose loss is no longer a number."""

    def on_log(self, args, state, control, logs=None, **kwargs):
        loss = (logs or {}).get("loss")
        if loss is not None and not math.isfinite(loss):
            raise FloatingPointError(f"loss is {loss} at step {state.global_step}")


@dataclass(frozen=True)
class TrainingReport:
    """What a training did.

    Attributes:
        steps: optimizer steps.
        tokens: all that the model saw.
        loss_tokens: those of them that count in the loss.
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
    short_attention(model, settings.length)
    trainer_class = RepairTrainer
    if count() > 1:
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
            model=model,
            args=TrainingArguments(
                output_dir=everyone(scratch)[0],
                max_steps=settings.steps,
                per_device_train_batch_size=micro_batch,
                gradient_accumulation_steps=accumulation,
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
                logging_steps=max(1, settings.steps // 48),
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
        steps=trainer.state.global_step,
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


@torch.inference_mode()
def validation_loss(model: nn.Module, blocks: Blocks, batch_size: int) -> float:
    """Mean loss of the next token over ``blocks``, in nats."""
    device = next(model.parameters()).device
    total, count = 0.0, 0
    for rows in torch.arange(len(blocks)).split(batch_size):
        logits = model(input_ids=blocks.input_ids[rows].to(device)).logits[:, :-1].flatten(0, 1)
        targets = blocks.labels[rows, 1:].flatten().to(device)
        total += nn.functional.cross_entropy(logits.float(), targets, reduction="sum").item()
        count += int((targets != IGNORED).sum())
    return total / count
