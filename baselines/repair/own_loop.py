"""The interface of a repair that brings the loop of its training."""

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Protocol

import torch
from torch import Tensor, nn

from baselines.repair.base import Repair


class Run(Protocol):
    """What a loop is handed: the text and budget of every repair, and who keeps its account.

    Attributes:
        batches: Of each optimizer step its micro-batches, each with `input_ids` and `labels`, int64
            of shape (sequences, length), on the model's device; a label of -100 does not count.
        dense: The dense model, frozen, in evaluation mode, and in the host's memory but where it is
            distilled; None where the repair does not need it.
    """

    batches: Sequence[Sequence[dict[str, Tensor]]]
    dense: nn.Module | None

    def steps(self, optimizer: torch.optim.Optimizer) -> Iterator[int]:
        """The numbers of the steps of a round over the text: a step is on the batch of its number.

        The body of the loop leaves gradients in the parameters of ``optimizer``. They are clipped,
        the optimizer takes its step, at the learning rate of the schedule that every repair has,
        gradients are set to None, and checkpoints are taken. A training that is taken up again has
        what ``restore`` brought back; rounds that were over have no steps, and the one that was
        interrupted, with the optimizer as it was, has those that are left.
        """

    def loss(self, model: nn.Module, micro_batch: dict[str, Tensor]) -> Tensor:
        """What a micro-batch of the step adds to the mean loss of its batch, by the ``objective``;
        for a repair that has none, of the next token.
        """

    def note(self, loss: Tensor) -> None:
        """Take down what a micro-batch adds to the loss of its step, for progress bar and log."""

    def autocast(self) -> AbstractContextManager:
        """In it, operations are done in the precision that is to be computed in."""


class OwnLoop(Repair):
    """A repair that is trained by ``train``, not by transformers' Trainer, in one process."""

    def rounds(self, model: nn.Module) -> int:
        """How many times the training of a wrapped model goes over the text.

        The budget allows each number to train in one round.
        """
        return 1

    @abstractmethod
    def train(self, model: nn.Module, run: Run) -> None:
        """Train a wrapped model in place, in as many ``run.steps`` as it has ``rounds``.

        It draws random numbers from torch's global generators alone.
        """
