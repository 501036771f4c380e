"""What a ``transformers`` folder holds, and whether all of it is there."""

from collections.abc import Iterable, Iterator
from math import isfinite
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from tqdm import tqdm

from bench.sources.base import SourceError
from bench.typed import read_as

# No file is looked for elsewhere, and no code of a model's repository is run or asked about.
LOCAL = {"local_files_only": True, "trust_remote_code": False}
# PEFT's, which `transformers` puts into the model that it loads without being asked.
ADAPTER = "adapter_config.json"
SHOWN = 3


class _Settings(BaseModel, extra="allow", strict=True):
    """What is looked at in a ``config.json``."""

    architectures: list[str] | None = None
    model_type: str | None = None
    auto_map: dict[str, Any] | None = None
    quantization_config: dict[str, Any] | None = None


def read_settings(folder: Path) -> dict:
    """The ``config.json`` of a ``transformers`` folder.

    Raises:
        UnreadableError: It is not there, or is none; one line.
    """
    return read_as(_Settings, folder / "config.json")


def causal_problem(settings: dict) -> str | None:
    """Why settings are not those of a causal language model of plain weights; None if they are."""
    architectures = settings.get("architectures") or []
    if not any(name.endswith(("ForCausalLM", "LMHeadModel")) for name in architectures):
        return f"architectures = {architectures}: allowed: a causal language model"
    # Codes are pruned as if they were weights, or come without their scales, as the device has it.
    quantised = settings.get("quantization_config")
    if quantised is not None:
        method = quantised.get("quant_method")
        return f"quantization_config.quant_method = {method!r}: allowed: weights without one"
    return None


def load_whole(folder: str | Path, name: str | Path, **options):
    """A causal language model all of whose weights come from its checkpoint, in evaluation mode.

    ``transformers`` draws at random what a checkpoint lacks and only logs it. What it lacks is for
    ``transformers`` to say: a tied head is there if the embedding is, and keys may have older
    names, or lack the prefix of the base model. Tensors that the model has no place for are let
    pass (buffers of older versions, heads for several tokens), unless they are of a layer that the
    model has, or weights in its blocks: without a bias or a scale, a norm of another family, an
    adapter or a whole block it would be another model.

    Args:
        folder: The ``transformers`` folder.
        name: What the error calls it.
        **options: Of ``from_pretrained``; ``device_map="meta"`` reads no weights.

    Raises:
        SourceError: Weights are missing or have another shape, or a layer has tensors that the
            model does not take: one line that names them; or an adapter lies beside them.
    """
    from transformers import AutoModelForCausalLM

    if (Path(folder) / ADAPTER).exists():
        raise SourceError(
            f"{name}: {ADAPTER}: an adapter beside the weights; allowed: a model that it is merged "
            "into, or a folder without it"
        )
    model, info = AutoModelForCausalLM.from_pretrained(
        folder, output_loading_info=True, ignore_mismatched_sizes=True, **LOCAL, **options
    )
    problems = list(_loading_problems(model, info))
    if problems:
        raise SourceError(f"{name}: {'; '.join(problems)}")
    return model.eval()


def _loading_problems(model, info: dict) -> Iterator[str]:
    missing, unexpected = info["missing_keys"], info["unexpected_keys"]
    if missing:
        yield f"{len(missing)} of {len(model.state_dict())} weights are missing: {_some(missing)}"
    if info["mismatched_keys"]:
        shapes = [f"{key} is {tuple(a)}, not {tuple(b)}" for key, a, b in info["mismatched_keys"]]
        yield f"{len(shapes)} weights are not as config.json says: {_some(shapes)}"
    # Beside missing ones, those that are not expected tell what went wrong: a prefix, say.
    stray = unexpected if missing else [key for key in unexpected if _belongs(model, key)]
    if stray:
        yield f"{len(stray)} tensors that the model does not take: {_some(stray)}"
    # Not tied when it is loaded, they would be by who ties the model again, as lm-eval does.
    for key, other in model.get_expanded_tied_weights_keys(all_submodels=True).items():
        one, two = model.get_parameter_or_buffer(key), model.get_parameter_or_buffer(other)
        if one is not two and "meta" not in (one.device.type, two.device.type):
            yield f"config.json ties {key} to {other}, and their values differ"


def _belongs(model, key: str) -> bool:
    """Whether a tensor is named as one of a module of ``model`` that has parameters of its own, or
    as a weight of one of its blocks, of which the checkpoint may have more.
    """
    from torch import nn

    names = (key, f"{model.base_model_prefix}.{key}")
    for place, module in model.named_modules():
        is_owner = any(name.rpartition(".")[0] == place for name in names)
        if is_owner and next(module.parameters(recurse=False), None) is not None:
            return True
        in_it = any(name.startswith(f"{place}.") for name in names)
        if in_it and isinstance(module, nn.ModuleList) and key.endswith(".weight"):
            return True
    return False


def _some(names: Iterable[str]) -> str:
    first, more = sorted(names)[:SHOWN], len(names) - SHOWN
    return ", ".join(first) + (f" and {more} more" if more > 0 else "")


def check_finite(folder: Path, name: str | Path) -> None:
    """Look for values that are no numbers, and weights that are codes, one tensor at a time.

    Raises:
        SourceError: There is one; one line that names the tensor.
    """
    import torch
    from safetensors import safe_open

    for path in tqdm(sorted(folder.glob("*.safetensors")), desc="finite", unit="file"):
        with safe_open(path, framework="pt") as tensors:
            for key in tensors.keys():  # noqa: SIM118
                tensor = tensors.get_tensor(key)
                if key.endswith(".weight") and not tensor.is_floating_point():
                    kind = str(tensor.dtype).removeprefix("torch.")
                    raise SourceError(f"{name}: {path.name}: {key} is {kind}; allowed: fractions")
                if not tensor.is_floating_point() or torch.finfo(tensor.dtype).bits < 16:
                    continue
                if tensor.numel() and not all(isfinite(end) for end in tensor.aminmax()):
                    raise SourceError(f"{name}: {path.name}: {key} has values that are not finite")


def check_special_tokens(tokenizer, rows: int, name: str | Path) -> None:
    """Compare the tokens that stand in texts unasked with the rows of the embedding.

    They are what ends a document, what begins one, and what the tokenizer itself adds. Any other
    without a row, such as one for padding, does no harm unless a text has it.

    Raises:
        SourceError: One has no row, or the tokenizer puts one behind a text, which is no beginning
            of a longer one any more; one line that names it.
    """
    text, alone = tokenizer("a")["input_ids"], tokenizer("a", add_special_tokens=False)["input_ids"]
    if text[len(text) - len(alone) :] != alone:
        last = tokenizer.convert_ids_to_tokens(text[-1])
        raise SourceError(
            f"{name}: the tokenizer puts {last!r} behind a text; allowed: special tokens before it "
            "alone (add_eos_token = false)"
        )
    special = {tokenizer.bos_token_id, tokenizer.eos_token_id, *tokenizer("")["input_ids"]}
    for token in sorted(special - {None}):
        if token >= rows:
            raise SourceError(f"{name}: {no_row(tokenizer, token, rows)}")


def no_row(tokenizer, token: int, rows: int) -> str:
    """Why a token cannot be used."""
    return (
        f"token {tokenizer.convert_ids_to_tokens(token)!r} has id {token}, and the embedding "
        f"{rows} rows; allowed: ids up to {rows - 1}"
    )
