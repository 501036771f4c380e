"""The loss of the next token, over the tokens that count."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn
from torch.autograd.function import once_differentiable

from bench.data.tokens import IGNORED
from bench.training.blocks import Blocks


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
