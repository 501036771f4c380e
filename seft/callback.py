"""The Evolver as a callback of the transformers Trainer."""

from transformers import TrainerCallback
from transformers.trainer_callback import ExportableState

from seft.evolver import Evolver


class SeftCallback(TrainerCallback, ExportableState):
    """Evolves a SEFT model while a `transformers.Trainer` trains it.

    A training is taken up again as any other (`resume_from_checkpoint`).
    """

    evolver: Evolver | None = None

    def on_train_begin(self, args, state, control, model=None, **kwargs):
        if state.global_step:
            # The Trainer has brought the weights back; the log is in its own state.
            saved = state.stateful_callbacks[type(self).__name__]
            model.evolution_log = saved["attributes"]["evolution_log"]
        self.evolver = Evolver(
            model,
            total_steps=state.max_steps,
            step=state.global_step,
            micro_batches=args.gradient_accumulation_steps,
        )

    def on_step_end(self, args, state, control, optimizer=None, **kwargs):
        # Fires after the optimizer step, and before evaluation and checkpoints.
        self.evolver.step(optimizer, state.global_step)

    def on_train_end(self, args, state, control, **kwargs):
        self.evolver.close()

    def state(self) -> dict:
        """What the Trainer saves of the callback in a checkpoint."""
        log = self.evolver.model.evolution_log if self.evolver else []
        return {"args": {}, "attributes": {"evolution_log": log}}
