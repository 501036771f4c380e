"""Running the decoder blocks on the calibration set, and looking at their layers' inputs."""

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from baselines.pruning.pattern import Pattern
from seft.blocks import target_layers


class _Stop(Exception):  # noqa: N818 - a signal, not an error
    """Ends a forward pass of which the rest is of no interest."""


class Statistic(Protocol):
    """What a pruner keeps of a layer's inputs over the calibration set."""

    def add(self, inputs: Tensor) -> None:
        """Take in more inputs of the layer, of shape (tokens, inputs), in the model's dtype."""


Prune = Callable[[Mapping[str, nn.Linear], Pattern, Statistic], None]


@dataclass
class Batch:
    """Calibration sequences that go through a block together.

    Attributes:
        hidden: Input of the block at hand, of shape (sequences, length, width).
        arguments: What the model hands to each block besides the hidden states: positional and
            keyword arguments (attention mask, rotary embeddings, ...).
    """

    hidden: Tensor
    arguments: dict[nn.Module, tuple[tuple, dict]]

    def run(self, block: nn.Module) -> Tensor:
        """The block's output for ``hidden``, of the same shape."""
        args, kwargs = self.arguments[block]
        return handed_on(block(self.hidden, *args, **kwargs))

    def advance(self, block: nn.Module) -> Tensor:
        """Let the block's output take the place of its input."""
        self.hidden = self.run(block)
        return self.hidden


@dataclass
class Group:
    """Layers that receive the very same input (q, k and v; gate and up), and its statistic."""

    statistic: Statistic
    layers: dict[str, nn.Linear]

    def prune(self, prune: Prune, targets: Mapping[str, Pattern]) -> None:
        """Prune each layer to its own target; layers with the same one at once.

        Args:
            prune: Prunes layers with the same input and target, as a pruner does.
            targets: Of each layer, by name.
        """
        for target in dict.fromkeys(targets[name] for name in self.layers):
            layers = {name: self.layers[name] for name in self.layers if targets[name] == target}
            prune(layers, target, self.statistic)


class InputNorm:
    """‖X_j‖₂ of each input feature j over all calibration tokens, in float32."""

    def __init__(self, width: int, device: torch.device):
        self.squares = torch.zeros(width, device=device)

    def add(self, inputs: Tensor) -> None:
        self.squares += inputs.float().square().sum(0)

    def scores(self, weight: Tensor) -> Tensor:
        """|W_ij| · ‖X_j‖₂ of a weight of shape (outputs, inputs), in float32."""
        return weight.float().abs() * self.squares.sqrt()


def handed_on(output: Tensor | tuple) -> Tensor:
    """The hidden states, of what a block returns."""
    return output[0] if isinstance(output, tuple) else output


def record(model: nn.Module, blocks: list[nn.Module], input_ids: Tensor) -> Batch:
    """What the model hands to its blocks for some sequences.

    The model's own forward decides that (masks and rotary embeddings can differ between blocks),
    but only the first block computes: the others return the same output, whose value no recorded
    argument depends on. The head is never reached.

    Raises:
        ValueError: If the model changes hidden states between its blocks, as RWKV does that halves
            them now and then: block after block would compute something else.
    """
    calls = []
    first = blocks[0].forward
    output = None

    def stand_in(*args, **kwargs):
        nonlocal output
        calls.append((args, kwargs))
        if len(calls) == len(blocks):
            raise _Stop
        if output is None:
            output = first(*args, **kwargs)
        return output

    own = [vars(block).get("forward") for block in blocks]  # set by wrappers such as accelerate
    for block in blocks:
        block.forward = stand_in
    try:
        with suppress(_Stop):
            model(input_ids=input_ids, use_cache=False)
    finally:
        for block, forward in zip(blocks, own, strict=True):
            if forward is None:
                del block.forward
            else:
                block.forward = forward
    (hidden, *_), _ = calls[0]
    # Mostly it is the very tensor; Gemma 4 takes all of it.
    if not all(
        given is (before := handed_on(output)) or torch.equal(given, before)
        for (given, *_), _ in calls[1:]
    ):
        raise ValueError(
            f"{type(model).__name__} changes hidden states between its decoder blocks: they cannot "
            "run one after another by themselves"
        )
    arguments = [(args[1:], kwargs) for args, kwargs in calls]
    return Batch(hidden, dict(zip(blocks, arguments, strict=True)))


def collect(
    name: str,
    block: nn.Module,
    batches: list[Batch],
    new_statistic: Callable[[int, torch.device], Statistic],
    run: Callable[[Batch, nn.Module], Tensor] = Batch.run,
) -> list[Group]:
    """Statistics of all target layers of a block, one for each distinct input.

    Args:
        name: The block's name.
        block: A decoder block.
        batches: The whole calibration set, at the input of this block.
        new_statistic: Makes a statistic for a width and a device, as ``Pruner.statistic``.
        run: ``Batch.run``, or ``Batch.advance`` if the block is not run again after this.

    Raises:
        ValueError: If the block's output is not finite, or a layer is never reached.
    """
    layers = target_layers(block, name)
    groups: dict[str, Group] = {}
    # Inputs met in the current batch, kept alive so that `is` cannot meet a new tensor that took
    # an old one's place.
    seen: list[tuple[Tensor, Group]] = []

    def observe(layer_name: str, inputs: Tensor) -> None:
        if inputs.numel() == 0:  # an expert that a batch has no tokens for
            return
        layer = layers[layer_name]
        for tensor, group in seen:
            if tensor is inputs:
                groups[layer_name] = group
                group.layers[layer_name] = layer
                return
        if layer_name not in groups:
            statistic = new_statistic(layer.in_features, layer.weight.device)
            groups[layer_name] = Group(statistic, {layer_name: layer})
        groups[layer_name].statistic.add(inputs.flatten(0, -2))
        seen.append((inputs, groups[layer_name]))

    hooks = [
        layer.register_forward_pre_hook(lambda _, args, key=key: observe(key, *args))
        for key, layer in layers.items()
    ]
    try:
        for batch in batches:
            seen.clear()
            if not run(batch, block).isfinite().all():
                raise ValueError(
                    f"{name} gives infinite or undefined values on the calibration set; "
                    "load the model in bfloat16 or float32"
                )
    finally:
        for hook in hooks:
            hook.remove()
    idle = [key for key in layers if key not in groups]
    if idle:
        raise ValueError(f"{', '.join(idle)}: no calibration token reaches the layer")
    return list({id(group): group for group in groups.values()}.values())
