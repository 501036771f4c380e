"""Models, as the stages of the benchmark load them."""

import platform
from collections.abc import Iterator
from functools import reduce
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor, nn

from baselines.pruning.layers import prunable_layers
from bench.sources.checkpoint import LOCAL, load_whole


def pick_device(name: str) -> torch.device:
    """``auto`` is the GPU where there is one."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and not torch.cuda.is_available():
        raise RuntimeError(
            f"runtime.device = 'cuda': {platform.node()} has no GPU that torch can use; "
            "allowed: auto, cpu, or a node with a GPU"
        )
    return torch.device(name)


def takes_gpu(name: str) -> bool:
    """Whether a job with this ``runtime.device`` takes a GPU, as far as this machine can tell."""
    return name == "cuda" or (name == "auto" and torch.cuda.is_available())


def pick_dtype(name: str, device: torch.device) -> torch.dtype:
    """``auto`` is bfloat16 where the device multiplies matrices in it, else float32."""
    if name != "auto":
        return getattr(torch, name)
    if device.type == "cuda":
        fast = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        # Without these instructions bfloat16 on a CPU is slower than float32.
        capabilities = torch.cpu.get_capabilities()
        fast = capabilities.get("avx512_bf16") or capabilities.get("amx_bf16")
    return torch.bfloat16 if fast else torch.float32


def load_model(folder: str | Path, device: torch.device, dtype: torch.dtype) -> nn.Module:
    """A causal language model from a local ``transformers`` folder, in evaluation mode.

    Raises:
        SourceError: not all of its weights are there (one line).
    """
    return load_whole(folder, folder, dtype=dtype).to(device)


def read_layers(folder: str | Path, model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Weights of the prunable layers of ``model`` as a local ``transformers`` folder has them.

    What its files call them only ``transformers`` knows, so it loads the folder. In the dtype of
    the files the weights stay mapped: a second model is never held in memory.
    """
    stored = load_whole(folder, folder, dtype=_stored_dtype(Path(folder)))
    for name in prunable_layers(model):
        yield name, stored.get_submodule(name).weight.detach()


def _stored_dtype(folder: Path) -> torch.dtype | str:
    """The dtype of a folder's weights; of several, one in which none of them is rounded.

    What ``config.json`` says need not be theirs; it is asked where all have less than 16 bits.
    """
    dtypes = set()
    for path in folder.glob("*.safetensors"):
        with safe_open(path, framework="pt") as file:
            dtypes |= {file.get_tensor(key).dtype for key in file.keys()}  # noqa: SIM118
    wide = [dtype for dtype in dtypes if dtype.is_floating_point and dtype.itemsize > 1]
    return reduce(torch.promote_types, wide) if wide else "auto"


# Up to this length the CPU's fused attention kernel loses to plain matrix products.
SHORT = 512


def short_attention(model: nn.Module, length: int, device: torch.device) -> None:
    """Let a model, or what an adapter wraps, compute the attention of ``length`` tokens in the
    fastest way.

    Args:
        model: on any device.
        length: tokens a sequence.
        device: that computes, wherever the model lies.
    """
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    if device.type == "cpu" and length <= SHORT:
        base.set_attn_implementation("eager")


def load_tokenizer(folder: str | Path):
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder, **LOCAL)
