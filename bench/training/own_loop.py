"""The training of a repair that brings its own loop."""

from collections.abc import Iterator
from contextlib import AbstractContextManager

import torch
from torch import Tensor, nn

from bench.training.trainer import RepairTrainer


class OwnLoopTrainer(RepairTrainer):
    """A RepairTrainer whose loop is the repair's: the ``Run`` that it is handed.

    Order of the text, schedule, clipping, log, callbacks and checkpoints are those of the Trainer.

    Its ``max_steps`` are those of a round.
    """

    def train(self, resume_from_checkpoint=None):
        if self.args.activation_checkpointing:
            self.model.activation_checkpointing_enable(self.args.activation_checkpointing_kwargs)
        if resume_from_checkpoint is not None:
            self._load_from_checkpoint(resume_from_checkpoint)
        self._last_checkpoint, self._rounds_begun = resume_from_checkpoint, 0
        steps, rounds = self.args.max_steps, self.repair.rounds(self.model)
        self._init_training_state(steps * rounds, steps, rounds, resume_from_checkpoint, None)
        self._tr_loss, self._total_loss_scalar = torch.zeros((), device=self.args.device), 0.0
        self._globalstep_last_logged = self.state.global_step
        loader = self.callback_handler.train_dataloader = self.get_train_dataloader()
        self.control = self.callback_handler.on_train_begin(self.args, self.state, self.control)
        # Served once, for all rounds, whatever a checkpoint says of it.
        self.train_dataset.order.clear()
        parts, size = list(loader), self.args.gradient_accumulation_steps
        self.batches = [parts[first : first + size] for first in range(0, len(parts), size)]
        self.repair.train(self.model, self)
        if self.state.global_step < self.state.max_steps:
            taken, due = self.state.global_step, self.state.max_steps
            raise RuntimeError(f"its own loop took {taken} of {due} optimizer steps")
        self.control = self.callback_handler.on_train_end(self.args, self.state, self.control)

    def steps(self, optimizer: torch.optim.Optimizer) -> Iterator[int]:
        done = self.state.global_step - self.args.max_steps * self._rounds_begun
        self._rounds_begun += 1
        if done >= self.args.max_steps:
            return
        self.optimizer, self.lr_scheduler = optimizer, None
        self.create_scheduler(self.args.max_steps)
        if self._last_checkpoint is not None:
            if done:
                self._load_optimizer_and_scheduler(self._last_checkpoint)
            self._load_rng_state(self._last_checkpoint)
            self._last_checkpoint = None
        for number in range(done, self.args.max_steps):
            self._number = number
            self.control = self.callback_handler.on_step_begin(self.args, self.state, self.control)
            yield number
            self._step(optimizer)

    def _step(self, optimizer: torch.optim.Optimizer) -> None:
        if self.args.max_grad_norm > 0:
            parameters = [p for group in optimizer.param_groups for p in group["params"]]
            nn.utils.clip_grad_norm_(parameters, self.args.max_grad_norm)
        report = self.callback_handler
        self.control = report.on_pre_optimizer_step(self.args, self.state, self.control)
        rate = self._get_learning_rate()
        optimizer.step()
        self.lr_scheduler.step()
        optimizer.zero_grad()
        self.state.global_step += 1
        self.control = report.on_step_end(self.args, self.state, self.control)
        self._maybe_log_save_evaluate(
            self._tr_loss, None, self.model, None, 0, None, None, learning_rate=rate
        )

    def loss(self, model: nn.Module, micro_batch: dict[str, Tensor]) -> Tensor:
        batch = self.batches[self._number]
        count = self._get_num_items_in_batch(batch, self.args.device)
        with self.autocast():
            return self.compute_loss(model, dict(micro_batch), num_items_in_batch=count)

    def note(self, loss: Tensor) -> None:
        self._tr_loss += loss.detach()

    def autocast(self) -> AbstractContextManager:
        return self.compute_loss_context_manager()
