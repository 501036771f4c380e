"""The Trainer of every repair."""

import math
from functools import partial
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import ProgressCallback, Trainer, TrainerCallback, TrainingArguments

from baselines.repair.base import STATE_FILE, Repair
from bench.files import naming_full_disk
from bench.training.loss import counted_logits, dense_logits, distillation_loss


class OnOneDevice(TrainingArguments):
    """Arguments of a Trainer for a process that computes on the device of its model alone.

    The library's own shares batches out over all GPUs that the process sees, and takes as many
    times the blocks for each of its steps.
    """

    @property
    def n_gpu(self) -> int:
        return min(1, super().n_gpu)


class RepairTrainer(Trainer):
    """The Trainer, but for logits that nothing is done with, and with checkpoints of what the
    repair has changed, not of the frozen model.

    Args:
        repair: what is trained.
        dtype: bfloat16 computes the loss under autocast. The Trainer's own way to do that makes
            a float32 copy of all logits, and another of their gradient.
        dense: the dense model, for a repair that needs it; one that distills has it on the device.
        **arguments: of the Trainer.
    """

    def __init__(self, repair: Repair, dtype: torch.dtype, dense: nn.Module | None, **arguments):
        super().__init__(**arguments)
        self.repair, self.dtype = repair, dtype
        self.distills = repair.objective == "distill"
        self.dense = dense.to(self.args.device) if self.distills else dense

    def autocast_smart_context_manager(self, cache_enabled: bool | None = True):
        enabled = self.dtype != torch.float32
        return torch.autocast(
            self.args.device.type, self.dtype, enabled=enabled, cache_enabled=cache_enabled
        )

    def compute_loss(self, model, inputs, *args, **kwargs):
        if self.distills:
            dense = dense_logits(self.dense, inputs)
            self.compute_loss_func = partial(distillation_loss, dense=dense)
        with counted_logits(self.accelerator.unwrap_model(model), inputs["labels"]):
            return super().compute_loss(model, inputs, *args, **kwargs)

    def _save_checkpoint(self, *arguments) -> None:
        with naming_full_disk(self.args.output_dir):
            super()._save_checkpoint(*arguments)

    def _save(self, output_dir: str | None = None, state_dict: dict | None = None) -> None:
        folder = Path(output_dir)
        folder.mkdir(parents=True, exist_ok=True)
        tensors = self.repair.checkpoint(self.model)
        save_file(
            {k: tensor.cpu().contiguous() for k, tensor in tensors.items()}, folder / STATE_FILE
        )

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model=None) -> None:
        self.repair.restore(self.model, load_file(Path(resume_from_checkpoint) / STATE_FILE))


class Progress(ProgressCallback):
    """A bar that shows the loss, where the library's prints a line at each."""

    def on_log(self, args, state, control, logs=None, **kwargs):
        if self.training_bar is not None and "loss" in (logs or {}):
            self.training_bar.set_postfix(loss=logs["loss"], refresh=False)


class FiniteLoss(TrainerCallback):
    """Ends a training whose loss is no longer a number.

    It looks at what is logged, so the last step is, whether or not its number is due.
    """

    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step == state.max_steps:
            control.should_log = True

    def on_log(self, args, state, control, logs=None, **kwargs):
        loss = (logs or {}).get("loss")
        if loss is not None and not math.isfinite(loss):
            raise FloatingPointError(f"loss is {loss} at step {state.global_step}")
