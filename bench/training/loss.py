"""The losses of a training, over the tokens that count."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from bench.data.tokens import IGNORED, Blocks

Rows = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""Of logits (rows, vocabulary), which it may overwrite, and targets: summed loss and gradient."""


class SummedLoss(torch.autograd.Function):
    """Summed loss of logits (tokens, vocabulary) and targets (tokens, ...), in float32.

    The gradient is made in the forward pass, a few rows at a time, in the logits' dtype: the
    float32 copies of all logits and their gradient, the largest tensors of a training step of a
    small model, are never made.
    """

    ROWS = 16

    @staticmethod
    def forward(ctx, logits: Tensor, targets: Tensor, of_rows: Rows) -> Tensor:
        gradient = torch.empty_like(logits)
        total = logits.new_zeros((), dtype=torch.float32)
        for start in range(0, len(logits), SummedLoss.ROWS):
            rows = slice(start, start + SummedLoss.ROWS)
            loss, gradient[rows] = of_rows(logits[rows].float(), targets[rows])
            total += loss
        ctx.save_for_backward(gradient)
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_output: Tensor):
        (gradient,) = ctx.saved_tensors
        # In place: the product would be one more tensor of the logits' size.
        return gradient.mul_(grad_output), None, None


def cross_entropy(z: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Of labels, (rows,)."""
    target = labels.unsqueeze(1)
    z -= z.amax(1, keepdim=True)
    loss = -z.gather(1, target).sum()
    normaliser = z.exp_().sum(1, keepdim=True)
    loss += normaliser.log().sum()
    z /= normaliser
    return loss, z.scatter_add_(1, target, torch.full_like(normaliser, -1.0))


def divergence(z: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor]:
    """KL(p || q) of the distributions p of a teacher's logits, (rows, vocabulary), and q of z."""
    log_p, log_q = teacher.float().log_softmax(1), z.log_softmax(1)
    p = log_p.exp()
    return (p * (log_p - log_q)).sum(), log_q.exp_() - p


def next_tokens(labels: Tensor) -> tuple[Tensor, Tensor]:
    """Which positions of (batch, length) are followed by a token that counts, and those tokens."""
    # The last position of a block predicts nothing.
    targets = nn.functional.pad(labels[:, 1:], (0, 1), value=IGNORED)
    counted = targets != IGNORED
    return counted, targets[counted]


@contextmanager
def counted_logits(model: nn.Module, labels: Tensor) -> Iterator[None]:
    """Let ``model`` compute logits (tokens, vocabulary) at the positions that count, no others."""
    counted, _ = next_tokens(labels)
    hook = model.get_output_embeddings().register_forward_pre_hook(
        lambda _, inputs: (inputs[0][counted],)
    )
    try:
        yield
    finally:
        hook.remove()


@torch.no_grad()
def dense_logits(dense: nn.Module, inputs: Mapping[str, Tensor]) -> Tensor:
    """What a dense model gives at the positions that count, (tokens, vocabulary)."""
    with counted_logits(dense, inputs["labels"]):
        return dense(input_ids=inputs["input_ids"], use_cache=False).logits


def next_token_loss(outputs, labels: Tensor, num_items_in_batch=None) -> Tensor:
    """Mean loss of the next token over the labels that count, of :func:`counted_logits`."""
    _, targets = next_tokens(labels)
    total = SummedLoss.apply(outputs.logits, targets, cross_entropy)
    return _mean(total, len(targets), num_items_in_batch)


def distillation_loss(outputs, labels: Tensor, num_items_in_batch=None, *, dense: Tensor) -> Tensor:
    """Mean divergence from what :func:`dense_logits` gave of the same tokens."""
    total = SummedLoss.apply(outputs.logits, dense, divergence)
    return _mean(total, len(dense), num_items_in_batch)


def _mean(total: Tensor, here: int, num_items_in_batch) -> Tensor:
    """The mean over the tokens here, or over all of the optimizer step that these are a part of."""
    count = here if num_items_in_batch is None else num_items_in_batch
    # A batch of prompts alone has no loss, not an undefined one.
    return total / torch.as_tensor(count).clamp(min=1)


@torch.inference_mode()
def validation_loss(model: nn.Module, blocks: Blocks, batch_size: int) -> float:
    """Mean loss of the next token over ``blocks``, in nats.

    Raises:
        ValueError: no token of them counts.
    """
    if not (blocks.labels[:, 1:] != IGNORED).any():
        raise ValueError(
            f"validation: none of the {len(blocks)} blocks has a token after its first that "
            "counts: take more (training.validation_blocks) or longer ones (training.length), or "
            "let prompts count (training.prompt_loss)"
        )
    device = next(model.parameters()).device
    total, count = 0.0, 0
    for rows in torch.arange(len(blocks)).split(batch_size):
        logits = model(input_ids=blocks.input_ids[rows].to(device)).logits[:, :-1].flatten(0, 1)
        targets = blocks.labels[rows, 1:].flatten().to(device)
        total += nn.functional.cross_entropy(logits.float(), targets, reduction="sum").item()
        count += int((targets != IGNORED).sum())
    return total / count
