"""The layers a pruner touches, and how sparse they are."""

from dataclasses import dataclass
from fractions import Fraction

from torch import nn


@dataclass(frozen=True)
class PruneReport:
    """Sparsity measured on the weights.

    Attributes:
        sparsity: Fraction of zeros over all prunable layers together.
        layers: Fraction of zeros of each prunable layer, by the layer's name.
    """

    sparsity: float
    layers: dict[str, float]


def decoder_blocks(model: nn.Module) -> dict[str, nn.Module]:
    """The decoder blocks of a ``transformers`` causal language model, by name, in order.

    They are the outermost ``nn.ModuleList`` that has ``config.num_hidden_layers`` entries and
    holds linear layers, whatever the architecture calls it.

    Raises:
        ValueError: If the model has no such list.
    """
    if hasattr(model, "config"):
        depth = model.config.get_text_config().num_hidden_layers
        for name, module in model.named_modules():
            if (
                isinstance(module, nn.ModuleList)
                and len(module) == depth
                and any(isinstance(child, nn.Linear) for child in module.modules())
            ):
                return {f"{name}.{index}": block for index, block in enumerate(module)}
    raise ValueError(
        f"{type(model).__name__} has no list of decoder blocks with nn.Linear layers; "
        "it must be a transformers causal language model"
    )


def prunable_layers(model: nn.Module) -> dict[str, nn.Linear]:
    """Every ``nn.Linear`` inside the decoder blocks, by name: not the embeddings or the head."""
    return {
        f"{name}.{child}": layer
        for name, block in decoder_blocks(model).items()
        for child, layer in linear_layers(block).items()
    }


def linear_layers(block: nn.Module) -> dict[str, nn.Linear]:
    """Every ``nn.Linear`` of one decoder block, by its name inside the block."""
    return {name: module for name, module in block.named_modules() if isinstance(module, nn.Linear)}


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
