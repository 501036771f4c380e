"""Pruning a whole model, one decoder block after another."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from fractions import Fraction

import torch
from pydantic import ValidationError
from torch import Tensor, nn
from tqdm import tqdm

from baselines.problems import misfit
from baselines.pruning import PRUNERS, owl
from baselines.pruning.calibration import Batch, collect, record
from baselines.pruning.layers import (
    PruneReport,
    prunable_layers,
    sparsity_report,
)
from baselines.pruning.pattern import Pattern
from baselines.pruning.pruner import Pruner
from baselines.pruning.streaming import resident
from seft.blocks import check_plain, decoder_blocks

# Tokens that go through a block at once: enough to keep the matrix products efficient.
TOKENS_AT_ONCE = 2048


@torch.no_grad()
def prune(
    model: nn.Module,
    pruner: str,
    *,
    sparsity: float | Mapping[str, Fraction] | None = None,
    pattern: str | Pattern | None = None,
    calibration: Tensor | None = None,
    device: torch.device | None = None,
    **options,
) -> PruneReport:
    """Prune the linear layers inside a model's decoder blocks, in place.

    A model that is too large for a device stays in the host's memory: the device holds the
    calibration set at the input of one decoder block, that block, and what pruning it takes.

    Args:
        model: A ``transformers`` causal language model, on any device and in any float dtype.
        pruner: A name in ``PRUNERS``.
        sparsity: Fraction of every layer's weights to remove, in (0, 1); or of each layer's, by
            its name, as ``zero_fractions`` gives them of a base that is to be matched.
        pattern: The same as text (``"s60"``), or N of M consecutive inputs (``"2of4"``). Exactly
            one of ``sparsity`` and ``pattern`` is given.
        calibration: Token ids, int64 of shape (samples, length); read only by a pruner that
            ``reads_calibration``.
        device: That computes; each block is there only while it is pruned. None: the model's own.
        **options: The pruner's own options.

    Returns:
        The sparsity of each layer, measured on the pruned weights.

    Raises:
        KeyError: If the pruner is unknown.
        ValueError: If the pruner has no such option, an argument is out of its range, the model has
            no decoder blocks or ones with matrices that are in no ``nn.Linear``, a layer is packed,
            quantised or not merged, the pattern does not fit a layer or the allocation, or the
            calibration would run through blocks between which the model changes hidden states: then
            nothing is pruned. Also if the calibration gives non-finite activations or a singular
            Hessian: then earlier blocks are pruned.
    """
    kind = PRUNERS[pruner]
    try:
        method = kind(**options)
    except ValidationError as error:
        raise misfit(f"pruner {pruner!r}", error, kind) from None
    layers = prunable_layers(model)
    check_plain(model)
    targets = _targets(layers, sparsity, pattern)
    for name, layer in layers.items():
        method.check_pattern(targets[name])
        targets[name].check_width(name, layer.in_features)
    if method.reads_calibration:
        _check_calibration(pruner, calibration, model)
    with _evaluating(model):
        batches = _batches(model, calibration, device) if method.reads_calibration else []
        if method.allocation in owl.FURTHEST:
            blocks = decoder_blocks(model)
            targets = owl.allocate(method.allocation, blocks, batches, targets, device)
        if method.needs_calibration:
            _prune_block_by_block(model, method, targets, batches, device)
        else:
            for name, layer in tqdm(layers.items(), desc="prune", leave=False):
                with resident([layer], device):
                    method.prune({name: layer}, targets[name], None)
    return sparsity_report(model)


def _targets(
    layers: Iterable[str],
    sparsity: float | Mapping[str, Fraction] | None,
    pattern: str | Pattern | None,
) -> dict[str, Pattern]:
    """What is requested of each layer."""
    if (sparsity is None) == (pattern is None):
        raise ValueError(
            f"give exactly one of sparsity and pattern; got sparsity={sparsity}, pattern={pattern}"
        )
    if isinstance(sparsity, Mapping):
        for name in layers:
            wanted = sparsity.get(name)
            if wanted is None or not 0 < wanted < 1:
                raise ValueError(f"sparsity of {name} is {wanted}; it must lie in (0, 1)")
        return {name: Pattern(sparsity[name]) for name in layers}
    if sparsity is not None:
        pattern = Pattern.unstructured(sparsity)
    elif isinstance(pattern, str):
        pattern = Pattern.parse(pattern)
    return dict.fromkeys(layers, pattern)


def _check_calibration(pruner: str, calibration: Tensor | None, model: nn.Module) -> None:
    if calibration is None:
        raise ValueError(f"{pruner} needs calibration: token ids, int64 of shape (samples, length)")
    if calibration.dtype != torch.int64 or calibration.ndim != 2 or calibration.numel() == 0:
        raise ValueError(
            f"calibration is {calibration.dtype} of shape {tuple(calibration.shape)}; "
            "it must be int64 token ids of shape (samples, length), at least one"
        )
    length, rows = calibration.shape[1], model.get_input_embeddings().weight.shape[0]
    # A model of rotary positions goes on without a word where it was never trained.
    positions = getattr(model.config.get_text_config(), "max_position_embeddings", None) or length
    if length > positions:
        raise ValueError(
            f"calibration has {length} tokens a sequence; the model takes at most {positions}"
        )
    if calibration.min() < 0 or calibration.max() >= rows:
        raise ValueError(
            f"calibration has token ids from {calibration.min()} to {calibration.max()}; the "
            f"embedding has {rows} rows: they must lie from 0 to {rows - 1}"
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


def _batches(model: nn.Module, calibration: Tensor, device: torch.device | None) -> list[Batch]:
    """The calibration set at the input of the first block, on the device that computes."""
    blocks = list(decoder_blocks(model).values())
    unused = {module for block in blocks[1:] for module in block.modules()}
    sequences = max(1, TOKENS_AT_ONCE // calibration.shape[1])
    with resident([module for module in model.modules() if module not in unused], device):
        return [
            record(model, blocks, input_ids)
            for input_ids in calibration.to(model.device).split(sequences)
        ]


def _prune_block_by_block(
    model: nn.Module,
    pruner: Pruner,
    targets: Mapping[str, Pattern],
    batches: list[Batch],
    device: torch.device | None,
) -> None:
    """Prune each block on the inputs that the pruned blocks before it produce."""
    blocks = decoder_blocks(model)
    *_, last = blocks.values()
    for name, block in tqdm(blocks.items(), desc="prune", unit="block", leave=False):
        with resident(block.modules(), device):
            groups = collect(name, block, batches, pruner.statistic)
            while groups:  # so that a statistic is freed once it has been used
                groups.pop().prune(pruner.prune, targets)
            if block is not last:  # nothing reads the last block's output
                for batch in batches:
                    batch.advance(block)
