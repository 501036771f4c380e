"""OWL, outlier weighed layerwise sparsity (Yin et al., ICML 2024): how sparse each block becomes.

The outlier ratio of a decoder block is the fraction of its linear layers' entries whose Wanda score
|W_ij| · ‖X_j‖₂ is above M = 5 times the mean score of the block. Blocks with more outliers than the
others are pruned less: the sparsity of block i is

    s_i = S - scale · d_i        d_i = ratio_i - mean ratio

with blocks weighted in the mean by their numbers of entries: all together are asked for exactly the
requested sparsity S. With lambda = 0.08 (M and lambda as the authors run LLaMA) the scale is

    owl           lambda / max_j |d_j|                      no block is further than lambda from S
    owl-minmax    2 lambda / (max_j ratio_j - min_j ratio_j)

The second is what the authors' code does, as published numbers do: the ratios are mapped to a range
of 2 lambda and then centred, which leaves the interval of the first where ratios are skewed.

Scores are those of the dense model: one pass over the calibration set, before anything is pruned.
"""

from collections.abc import Mapping
from dataclasses import replace
from fractions import Fraction

import torch
from torch import nn
from tqdm import tqdm

from baselines.pruning.calibration import Batch, Group, InputNorm, collect
from baselines.pruning.pattern import Pattern
from baselines.pruning.streaming import resident
from seft.blocks import target_layers

OUTLIER = 5
LAMBDA = Fraction(8, 100)

FURTHEST = {"owl": LAMBDA, "owl-minmax": 2 * LAMBDA}
"""The allocations, and how far a block's sparsity can be from the requested one."""


def check_allocation(allocation: str, pattern: Pattern) -> None:
    """Raise ValueError if an allocation cannot be made of a pattern, whatever the model."""
    low, high = FURTHEST[allocation], 1 - FURTHEST[allocation]
    if pattern.m is not None or not low < pattern.fraction < high:
        raise ValueError(
            f"allocation {allocation!r} does not apply to pattern {pattern}; it must be "
            f"unstructured, with a sparsity in ({float(low):g}, {float(high):g})"
        )


def allocate(
    allocation: str,
    blocks: Mapping[str, nn.Module],
    batches: list[Batch],
    requested: Mapping[str, Pattern],
    device: torch.device | None = None,
) -> dict[str, Pattern]:
    """The target of each linear layer: that of its block.

    Args:
        allocation: One of ``FURTHEST``.
        blocks: The dense model's decoder blocks, by name, in order.
        batches: The whole calibration set, at the input of the first block; not changed.
        requested: Of each linear layer, by name; what counts is how many entries that is of all.
        device: That computes, as in ``prune``.
    """
    batches = [replace(batch) for batch in batches]
    ratios = {}
    for name, block in tqdm(blocks.items(), desc="owl", unit="block", leave=False):
        with resident(block.modules(), device):
            ratios[name] = outlier_ratio(collect(name, block, batches, InputNorm, Batch.advance))
    entries = {
        name: {layer: x.weight.numel() for layer, x in target_layers(block, name).items()}
        for name, block in blocks.items()
    }
    sizes = {name: sum(inside.values()) for name, inside in entries.items()}
    removed = sum(
        requested[layer].fraction * count
        for inside in entries.values()
        for layer, count in inside.items()
    )
    sparsities = block_sparsities(allocation, ratios, sizes, removed / sum(sizes.values()))
    return {
        layer: Pattern(sparsities[name]) for name, inside in entries.items() for layer in inside
    }


def outlier_ratio(groups: list[Group]) -> Fraction:
    """The fraction of a block's entries that are outliers.

    Args:
        groups: The block's linear layers with their ``InputNorm``.
    """
    layers = [(group.statistic, x.weight) for group in groups for x in group.layers.values()]
    entries = sum(weight.numel() for _, weight in layers)
    # Twice over the layers, so that the scores of one at a time are in memory.
    total = sum(norm.scores(weight).sum(dtype=torch.float64) for norm, weight in layers)
    bound = OUTLIER * total / entries
    outliers = sum(int((norm.scores(weight) > bound).sum()) for norm, weight in layers)
    return Fraction(outliers, entries)


def block_sparsities(
    allocation: str,
    ratios: Mapping[str, Fraction],
    sizes: Mapping[str, int],
    sparsity: Fraction,
) -> dict[str, Fraction]:
    """The sparsity of each block; ``sparsity`` is their weighted mean.

    Args:
        allocation: One of ``FURTHEST``.
        ratios: The outlier ratio of each block.
        sizes: The number of entries of each block.
        sparsity: Requested of all blocks together.
    """
    mean = sum(ratios[name] * sizes[name] for name in ratios) / sum(sizes.values())
    low, high = min(ratios.values()), max(ratios.values())
    if low == high:
        return dict.fromkeys(ratios, sparsity)
    if allocation == "owl":
        scale = LAMBDA / max(high - mean, mean - low)
    else:
        scale = 2 * LAMBDA / (high - low)
    return {name: sparsity - scale * (ratio - mean) for name, ratio in ratios.items()}
