"""Pruning a whole model, one decoder block after another."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from tqdm import tqdm

from baselines.pruning import PRUNERS
from baselines.pruning.calibration import collect, record
from baselines.pruning.layers import (
    PruneReport,
    decoder_blocks,
    prunable_layers,
    sparsity_report,
)
from baselines.pruning.pattern import Pattern
from baselines.pruning.pruner import Pruner

# Tokens that go through a block at once: enough to keep the matrix products efficient.
TOKENS_AT_ONCE = 2048


@torch.no_grad()
def prune(
    model: nn.Module,
    pruner: str,
    *,
    sparsity: float | None = None,
    pattern: str | Pattern | None = None,
    calibration: Tensor | None = None,
    **options,
) -> PruneReport:
    """Prune the linear layers inside a model's decoder blocks, in place.

    Args:
        model: A ``transformers`` causal language model, on any device and in any float dtype.
        pruner: A name in ``PRUNERS``.
        sparsity: Fraction of every layer's weights to remove, in (0, 1).
        pattern: The same as text (``"s60"``), or N of M consecutive inputs (``"2of4"``). Exactly
            one of ``sparsity`` and ``pattern`` is given.
        calibration: Token ids, int64 of shape (samples, length); read only by a pruner that
            ``needs_calibration``.
        **options: The pruner's own options.

    Returns:
        The sparsity of each layer, measured on the pruned weights.

    Raises:
        KeyError: If the pruner is unknown.
        TypeError: If the pruner has no such option.
        ValueError: If an argument is out of its range, the model has no decoder blocks, or the
            pattern does not fit a layer: then the model is unchanged. Also if the calibration
            gives non-finite activations or a singular Hessian: then earlier blocks are pruned.
    """
    method = PRUNERS[pruner](**options)
    target = _target(sparsity, pattern)
    for name, layer in prunable_layers(model).items():
        target.check_width(name, layer.in_features)
    if method.needs_calibration:
        _check_calibration(pruner, calibration)
        with _evaluating(model):
            _prune_block_by_block(model, method, target, calibration)
    else:
        for name, layer in tqdm(prunable_layers(model).items(), desc="prune", leave=False):
            method.prune({name: layer}, target, None)
    return sparsity_report(model)


def _target(sparsity: float | None, pattern: str | Pattern | None) -> Pattern:
    if (sparsity is None) == (pattern is None):
        raise ValueError(
            f"give exactly one of sparsity and pattern; got sparsity={sparsity}, pattern={pattern}"
        )
    if sparsity is not None:
        return Pattern.unstructured(sparsity)
    return pattern if isinstance(pattern, Pattern) else Pattern.parse(pattern)


def _check_calibration(pruner: str, calibration: Tensor | None) -> None:
    if calibration is None:
        raise ValueError(f"{pruner} needs calibration: token ids, int64 of shape (samples, length)")
    if calibration.dtype != torch.int64 or calibration.ndim != 2 or calibration.numel() == 0:
        raise ValueError(
            f"calibration is {calibration.dtype} of shape {tuple(calibration.shape)}; "
            "it must be int64 token ids of shape (samples, length), at least one"
        )


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    """Evaluation mode (no dropout) for a while; each module gets its own mode back."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


def _prune_block_by_block(
    model: nn.Module, pruner: Pruner, pattern: Pattern, calibration: Tensor
) -> None:
    """Prune each block on the inputs that the pruned blocks before it produce."""
    blocks = decoder_blocks(model)
    sequences = max(1, TOKENS_AT_ONCE // calibration.shape[1])
    batches = [
        record(model, list(blocks.values()), input_ids)
        for input_ids in calibration.to(model.device).split(sequences)
    ]
    *_, last = blocks.values()
    for name, block in tqdm(blocks.items(), desc="prune", unit="block", leave=False):
        groups = collect(name, block, batches, pruner.statistic)
        while groups:  # so that a statistic is freed once it has been used
            groups.pop().prune(pruner, pattern)
        if block is not last:  # nothing reads the last block's output
            for batch in batches:
                batch.hidden = batch.run(block)
