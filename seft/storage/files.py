"""A sparse model in files: of each sparse matrix a bit mask and the values under it.

A folder holds ``config.json``, ``generation_config.json`` and ``bitmask.safetensors``; where that
would be larger than a shard, ``bitmask-00001-of-00002.safetensors`` and so on, with
``bitmask.safetensors.index.json``, which has the form of the index that ``transformers`` writes.
The metadata, of the one file or of the index, have ``bitmask``, the version of this layout: "1".

Tensors are named as in the model's state dict, those that are tied by the first of their names. In
the place of a sparse matrix ``<name>``, (m, n), there are

- ``<name>.bits``, uint8, (m, ceil(n / 8)): the mask; column 8 i + j is bit j of byte i;
- ``<name>.values``, in the matrix' dtype: what lies under the mask, row by row.

Outside of the mask are those entries alone all of whose bits are 0: a negative zero is a value, so
that what is loaded is, bit for bit, what was saved. A matrix that would not be smaller stays as it
is. At 60 % sparsity 0.4 + 1/16 of a matrix' bytes are left in 16 bits.
"""

import json
from copy import copy
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from seft.blocks import check_plain
from seft.storage import Bitmask, mask_of, unpack_by_torch

if TYPE_CHECKING:
    from transformers import PreTrainedModel

VERSION = {"bitmask": "1"}
FILES = "bitmask{suffix}.safetensors"
FILE = FILES.format(suffix="")
INDEX = f"{FILE}.index.json"
BITS, VALUES = "bits", "values"


def save_bitmask(
    model: "PreTrainedModel", folder: str | Path, *, max_shard_size: int | str = "5GB"
) -> None:
    """Write a model with its sparse matrices as bit masks, for :func:`load_bitmask`.

    Until it is written, memory holds it twice: once as it is and once packed.

    Args:
        model: a causal language model; it is not changed.
        folder: to write to; made if it is not there.
        max_shard_size: bytes, or such as ``"5GB"``, from which on the weights lie in several
            files, none of them larger, but for a tensor that is so alone.

    Raises:
        ValueError: a layer is packed, quantised or not merged (one line).
    """
    from huggingface_hub import save_torch_state_dict

    check_plain(model)
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    config = copy(model.config)
    config.architectures, config.dtype = [type(model).__name__], model.dtype
    config.save_pretrained(folder)
    if model.can_generate():
        model.generation_config.save_pretrained(folder)
    packed = {}
    for name, tensor in _tensors(model).items():
        packed |= _packed(name, tensor)
    save_torch_state_dict(
        packed,
        folder,
        filename_pattern=FILES,
        max_shard_size=max_shard_size,
        metadata=dict(VERSION),
    )


def load_bitmask(folder: str | Path) -> "PreTrainedModel":
    """The plain ``transformers`` model that :func:`save_bitmask` wrote, bit for bit.

    It has the class that ``AutoModelForCausalLM`` has for the folder's configuration, is in
    evaluation mode, and holds every weight as a dense tensor on the CPU.

    Args:
        folder: a local one.

    Raises:
        ValueError: the folder holds no such model, or not all of it (one line).
    """
    from transformers import AutoConfig, AutoModelForCausalLM, GenerationConfig

    folder = Path(folder)
    try:
        stored = _read(folder)
        config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        with torch.device("meta"):
            blank = AutoModelForCausalLM.from_config(config, trust_remote_code=False)
        weights = {
            name: _unpacked(name, tensor.shape, stored) for name, tensor in _tensors(blank).items()
        }
        if stored:
            raise ValueError(f"{min(stored)}: the model has no place for it")
        generation = None
        if (folder / "generation_config.json").is_file():
            generation = GenerationConfig.from_pretrained(folder, local_files_only=True)
    # What a damaged folder raises depends on where the reader stumbles.
    except Exception as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"{folder}: no whole model as bit masks: {reason}") from error
    # The configuration has one dtype, which all would be rounded to.
    others = {name: values for name, values in weights.items() if values.dtype != config.dtype}
    model = type(blank).from_pretrained(
        None, config=config, state_dict=weights, generation_config=generation
    )
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        if name in others:
            tensor.data = others[name]
    model.name_or_path = model.config.name_or_path = str(folder)
    return model


def _tensors(model: nn.Module) -> dict[str, Tensor]:
    """The state dict, of tensors that are tied the first alone."""
    names = {name for name, _ in model.named_parameters(remove_duplicate=False)}
    tied = names - {name for name, _ in model.named_parameters()}
    return {name: tensor for name, tensor in model.state_dict().items() if name not in tied}


def _packed(name: str, tensor: Tensor) -> dict[str, Tensor]:
    """What is written of a tensor."""
    if tensor.ndim == 2 and tensor.is_floating_point():
        kept = (tensor != 0) | tensor.signbit()
        size = _bits_shape(tensor.shape).numel() + int(kept.sum()) * tensor.itemsize
        if size < tensor.nbytes:
            packed = Bitmask(tensor, kept)
            return {f"{name}.{BITS}": packed.bits, f"{name}.{VALUES}": packed.values}
    return {name: tensor}


def _bits_shape(shape: torch.Size) -> torch.Size:
    return torch.Size((shape[0], ceil(shape[1] / 8)))


def _read(folder: Path) -> dict[str, Tensor]:
    """All tensors of the files, by name.

    Raises:
        ValueError: files are missing, damaged, or of another layout.
    """
    files, metadata = _read_index(folder) if (folder / INDEX).is_file() else ([FILE], None)
    stored = {}
    for name in files:
        if Path(name).name != name or not (folder / name).is_file():
            raise ValueError(f"{name} is not there")
        try:
            with safe_open(folder / name, framework="pt") as file:
                metadata = metadata or file.metadata() or {}
                stored |= {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        except (OSError, SafetensorError) as error:
            raise ValueError(f"{name}: {error}") from error
    if metadata.get("bitmask") != VERSION["bitmask"]:
        found = metadata.get("bitmask")
        raise ValueError(f"metadata.bitmask = {found!r}: allowed: {VERSION['bitmask']!r}")
    return stored


def _read_index(folder: Path) -> tuple[list[str], dict]:
    """The names of the files, and the metadata."""
    try:
        index = json.loads((folder / INDEX).read_text(encoding="utf-8"))
        return sorted(set(map(str, index["weight_map"].values()))), dict(index["metadata"])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{INDEX}: no index with weight_map and metadata") from error


def _unpacked(name: str, shape: torch.Size, stored: dict[str, Tensor]) -> Tensor:
    """A tensor of the model, taken out of what is stored.

    Raises:
        ValueError: it is missing, or is not what the configuration says.
    """
    if name in stored:
        tensor = stored.pop(name)
        _check(name, tensor, shape)
        return tensor
    parts = [stored.pop(f"{name}.{part}", None) for part in (BITS, VALUES)]
    if any(part is None for part in parts):
        raise ValueError(f"{name}, or a part of it, is missing")
    bits, values = parts
    _check(f"{name}.{BITS}", bits, _bits_shape(shape))
    mask = mask_of(bits, shape[1])
    _check(f"{name}.{VALUES}", values, torch.Size((int(mask.sum()),)))
    return unpack_by_torch(bits, values, None, shape[1])


def _check(name: str, tensor: Tensor, shape: torch.Size) -> None:
    if tensor.shape != shape:
        raise ValueError(f"{name} is {tuple(tensor.shape)}, not {tuple(shape)}")
