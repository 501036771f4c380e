"""Pruned bases on disk: what tells them from the dense model.

A base is one safetensors file. For each pruned layer it holds one bit a weight, ``<layer>.mask``:
1 where the weight stays. Where the pruner changes the weights that stay, it also holds their
values, ``<layer>.values``, row by row; elsewhere they are the dense model's. All else (embeddings,
norms, biases, head) is the dense model's, too.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from baselines.pruning import PRUNERS
from baselines.pruning.layers import prunable_layers
from bench.models.loading import load_model, read_layers

BASE_FILE = "base.safetensors"


def save_base(
    model: nn.Module,
    folder: str | Path,
    *,
    dense: str | Path,
    pruner: str,
    device: torch.device | None = None,
) -> None:
    """Write what tells a pruned model from the dense one.

    Until it is written, the host's memory holds it twice: a sixteenth of a model in bfloat16, and
    what a pruner that changes weights has left of it.

    Args:
        model: the pruned model.
        folder: an existing folder.
        dense: folder of the dense model; its name is kept with the base.
        pruner: name of what pruned it.
        device: that computes; None: the model's own.
    """
    tensors = {}
    for name, layer in prunable_layers(model).items():
        weight = layer.weight.detach().to(device or layer.weight.device)
        # A negative zero that was not pruned stays what it is.
        stays = (weight != 0) | weight.signbit()
        tensors[f"{name}.mask"] = pack_bits(stays)
        if not PRUNERS[pruner].keeps_weights:
            tensors[f"{name}.values"] = weight[stays].cpu()
    # One entry alone: several would be written in any order.
    save_file(tensors, Path(folder) / BASE_FILE, {"model": str(dense)})


def dense_model(folder: str | Path) -> str:
    """The folder of the dense model that a base was pruned from, as it was given then."""
    with _open(folder) as file:
        return file.metadata()["model"]


def load_base(
    folder: str | Path, *, dense: str | Path, device: torch.device, dtype: torch.dtype
) -> nn.Module:
    """The pruned model, in evaluation mode; bit for bit what was saved, if in the same dtype.

    Args:
        folder: of the base.
        dense: folder of the dense model.
        device: to put it on.
        dtype: to load it in.

    Raises:
        ValueError: the base is missing or damaged (one line).
    """
    with _open(folder) as file, torch.no_grad():
        model = load_model(dense, device, dtype)
        for name, layer in prunable_layers(model).items():
            layer.weight.copy_(_pruned(layer.weight, file, name))
    # PEFT notes it in an adapter: the dense model, as a name, would be the wrong base.
    model.name_or_path = str(folder)
    return model


def read_base_layers(
    folder: str | Path, *, dense: str | Path, model: nn.Module
) -> Iterator[tuple[str, Tensor]]:
    """Weights of the base's pruned layers, read one at a time: a second model is never held.

    Args:
        folder: of the base.
        dense: folder of the dense model.
        model: a model with the same layers, which are read in their order.
    """
    with _open(folder) as file:
        for name, weight in read_layers(dense, model):
            yield name, _pruned(weight, file, name)


def _open(folder: str | Path) -> safe_open:
    path = Path(folder) / BASE_FILE
    try:
        return safe_open(path, framework="pt")
    except (OSError, SafetensorError) as error:
        raise ValueError(f"{path}: no whole pruned base: {error}") from error


def _pruned(weight: Tensor, file: safe_open, name: str) -> Tensor:
    """The base's weight of a layer, made of the dense model's; in the dtype of its own values."""
    stays = unpack_bits(file.get_tensor(f"{name}.mask"), weight.shape).to(weight.device)
    weight = weight.masked_fill(~stays, 0)
    if f"{name}.values" in file.keys():  # noqa: SIM118
        values = file.get_tensor(f"{name}.values").to(weight.device)
        weight = weight.to(values.dtype).masked_scatter_(stays, values)
    return weight


def pack_bits(mask: Tensor) -> Tensor:
    """A boolean tensor as bits, row by row: uint8 of shape (entries / 8, rounded up)."""
    return torch.from_numpy(np.packbits(mask.cpu().numpy()))


def unpack_bits(bits: Tensor, shape: torch.Size) -> Tensor:
    """The boolean tensor of this shape that :func:`pack_bits` gave ``bits`` for."""
    entries = np.unpackbits(bits.numpy(), count=shape.numel())
    return torch.from_numpy(entries.view(np.bool_)).view(shape)
