"""Checkpoints of a training, so that a job that is ended goes on where it was when run again."""

import re
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from transformers import TrainerCallback
from transformers.trainer import TRAINER_STATE_NAME

from bench.files import UnreadableError, read_json, remove, settle, write_json
from bench.jobs.measure import StageClock
from bench.origin import mark, verify
from bench.training.processes import everyone, rank

SO_FAR_FILE = "so_far.json"


class Checkpoints(TrainerCallback):
    """The checkpoints of one training: taken now and then, and when the job is asked to end.

    A scheduler that ends a job (time limit, preemption, cancellation) sends it SIGTERM, and a
    while later SIGKILL. On the first, the current optimizer step is finished, a checkpoint is
    taken, and the process ends with status 1. Checkpoints are whole or not there: one whose files
    are not those that were written is dropped, and the one before is taken. Processes that train
    together take them together, and the first one puts them in their place.

    Args:
        folder: where they lie; the training's own.
        digest: stands for everything that decides the training's result. Checkpoints that another
            digest stands for are removed.
        minutes: from one checkpoint to the next; 0 takes one after each step.
        clock: measures the training, and is told what earlier jobs have spent on it.

    Attributes:
        resumed: the steps at which the training was taken up again.
    """

    KEPT = 2

    def __init__(self, folder: str | Path, digest: str, minutes: float, clock: StageClock):
        self.folder = Path(folder)
        self.digest = digest
        self.minutes = minutes
        self.clock = clock
        self.resumed: list[int] = []
        self._asked_to_end = False
        self._ending = False
        if rank() == 0:
            self._clean()
        everyone(None)

    def _clean(self) -> None:
        """Let the last checkpoint be a whole one of this training, and nothing else be there."""
        self.folder.mkdir(parents=True, exist_ok=True)
        # What a killed job was about to write.
        for path in set(self.folder.iterdir()) - set(self._taken()):
            remove(path)
        for path in reversed(self._taken()):
            try:
                verify(path, {"training": self.digest}, whole=True)
                return
            except UnreadableError:
                print(f"{path}: damaged, or of another training: dropped", file=sys.stderr)
                remove(path)

    def _taken(self) -> list[Path]:
        """The checkpoints, oldest first."""
        steps = {
            path: int(found[1])
            for path in self.folder.iterdir()
            if (found := re.fullmatch(r"checkpoint-(\d+)", path.name))
        }
        return sorted(steps, key=steps.get)

    @property
    def last(self) -> Path | None:
        """The checkpoint to go on from."""
        return next(reversed(self._taken()), None)

    @property
    def micro_batch(self) -> int | None:
        """Blocks a forward pass in the training that the last checkpoint is of."""
        last = self.last
        return None if last is None else read_json(last / TRAINER_STATE_NAME)["train_batch_size"]

    @contextmanager
    def heeding_sigterm(self) -> Iterator[None]:
        """Inside the block, SIGTERM ends the training with a checkpoint."""

        def note(*_) -> None:
            self._asked_to_end = True

        previous = signal.signal(signal.SIGTERM, note)
        try:
            yield
        finally:
            signal.signal(signal.SIGTERM, previous)

    def on_train_begin(self, args, state, control, train_dataloader=None, **kwargs):
        self._taken_at = time.monotonic()
        if state.global_step:
            earlier = read_json(self.last / SO_FAR_FILE)
            self.clock.go_on_from(earlier["computed"])
            train_dataloader.dataset.order[:] = earlier["served"][rank()]
            self.resumed = [*earlier["resumed"], state.global_step]
            print(f"going on from step {state.global_step}", file=sys.stderr)

    def on_step_end(self, args, state, control, **kwargs):
        due = time.monotonic() - self._taken_at >= 60 * self.minutes
        # What one process was told or finds due, all do.
        due, self._ending = map(any, zip(*everyone((due, self._asked_to_end)), strict=True))
        if (due or self._ending) and state.global_step < state.max_steps:
            control.should_save = True

    def on_save(self, args, state, control, train_dataloader=None, **kwargs):
        """Put what the Trainer has written in its place, and make room."""
        written = Path(args.output_dir) / f"checkpoint-{state.global_step}"
        # Blocks that were fetched ahead will be served again.
        trained_on = state.global_step * args.train_batch_size * args.gradient_accumulation_steps
        so_far = {
            "computed": self.clock.computed(),
            "resumed": self.resumed,
            "served": everyone(train_dataloader.dataset.order[:trained_on]),
        }
        if rank() == 0:
            write_json(written / SO_FAR_FILE, so_far)
            mark(written, {"training": self.digest})
            settle(written, self.folder / written.name)
            for path in self._taken()[: -self.KEPT]:
                remove(path)
        everyone(None)
        self._taken_at = time.monotonic()
        if self._ending:
            sys.exit(
                f"asked to end: stopped after step {state.global_step} of {state.max_steps}; "
                f"run again, the training goes on from {self.folder / written.name}"
            )
