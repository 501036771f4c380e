"""The layers a pruner touches, and how sparse they are."""

from dataclasses import dataclass
from fractions import Fraction

from torch import nn

from seft.blocks import check_unshared, decoder_blocks, target_layers, unreached

# How many matrices an error names.
NAMED = 3


@dataclass(frozen=True)
class PruneReport:
    """Sparsity measured on the weights.

    Attributes:
        sparsity: Fraction of zeros over all prunable layers together.
        layers: Fraction of zeros of each prunable layer, by the layer's name.
    """

    sparsity: float
    layers: dict[str, float]


def prunable_layers(model: nn.Module) -> dict[str, nn.Linear]:
    """Every layer that is pruned, by name: those of the decoder blocks that hold matrices (see
    ``seft.blocks``), not the embeddings or the head.

    Raises:
        ValueError: If the model has no decoder blocks, or they hold matrices that are in no
            ``nn.Linear`` or in several (see ``check_reachable``).
    """
    check_reachable(model)
    return {
        name: layer
        for prefix, block in decoder_blocks(model).items()
        for name, layer in target_layers(block, prefix).items()
    }


def check_reachable(model: nn.Module) -> None:
    """See that every matrix of the decoder blocks, routers aside, is one that pruners reach.

    A sparsity measured without the others would not be the model's, nor one that counts a matrix
    twice. It looks at shapes and names alone: a model on the meta device will do.

    Raises:
        ValueError: If there are others (one line that names the first, and what holds them), two
            layers share a matrix (one line that names both), or the model has no decoder blocks.
    """
    check_unshared(model)
    others = {
        name: type(module).__name__
        for prefix, block in decoder_blocks(model).items()
        for name, module in unreached(block, prefix).items()
    }
    if others:
        named = [f"{name} ({kind})" for name, kind in others.items()][:NAMED]
        more = ", ..." if len(others) > NAMED else ""
        raise ValueError(
            f"{type(model).__name__} cannot be pruned: {len(others)} matrices of its decoder "
            f"blocks are in no nn.Linear: {', '.join(named)}{more}"
        )


def zero_fractions(model: nn.Module) -> dict[str, Fraction]:
    """The exact fraction of zeros of each prunable layer, by name."""
    return {
        name: 1 - Fraction(int(layer.weight.count_nonzero()), layer.weight.numel())
        for name, layer in prunable_layers(model).items()
    }


def sparsity_report(model: nn.Module) -> PruneReport:
    """Measure the sparsity of the prunable layers of a model."""
    fractions = zero_fractions(model)
    entries = {name: layer.weight.numel() for name, layer in prunable_layers(model).items()}
    zeros = sum(fractions[name] * entries[name] for name in fractions)
    return PruneReport(
        sparsity=float(zeros / sum(entries.values())),
        layers={name: float(fraction) for name, fraction in fractions.items()},
    )
