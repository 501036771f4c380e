"""From what was fetched to a ``transformers`` folder."""

import shutil
from pathlib import Path

from tqdm import tqdm

from bench.files import UnreadableError, read_json, remove, write_json
from bench.origin import describe
from bench.sources.base import BaseSource, SourceError, staged, write_manifest
from bench.sources.checkpoint import (
    LOCAL,
    causal_problem,
    check_finite,
    check_special_tokens,
    load_whole,
    read_settings,
)

PYTORCH = "pytorch_model"


def fetch_model(source: BaseSource, destination: Path) -> dict:
    """Bring a causal language model into ``destination``, as a ``transformers`` folder.

    A folder that is one already is taken as it is; weights that are there only in PyTorch's own
    format are written as safetensors. A single GGUF file is de-quantised to bfloat16. Whatever it
    was, every weight of the model must be there, and finite. Returns the manifest.

    Raises:
        SourceError: one line that names what failed; nothing is left behind.
    """
    with staged(destination) as folder:
        source.retrieve_model(folder)
        converted_from = {}
        if not (folder / "config.json").is_file():
            gguf = _only_gguf(folder, destination)
            name = gguf.relative_to(folder)
            converted_from[name.as_posix()] = describe(gguf)[gguf.name]
            convert_gguf(gguf, folder)
            remove(folder / name.parts[0])
        # By its names: others, which transformers does not read, may lie beside PyTorch's.
        elif not any(folder.glob("model*.safetensors*")):
            for path in sorted(folder.glob(f"{PYTORCH}*.bin")):
                converted_from |= describe(path)
            convert_pytorch(folder)
        _check_causal(folder, destination)
        _check_whole(folder, destination)
        for weights in folder.glob("*.safetensors"):
            if not weights.is_symlink():
                # Safetensors writes for the owner alone; on a cluster the group reads too.
                shutil.copymode(folder / "config.json", weights)
        return write_manifest(folder, source, converted_from)


def _only_gguf(folder: Path, destination: Path) -> Path:
    found = sorted(folder.rglob("*.gguf"))
    if len(found) != 1:
        raise SourceError(f"{destination}: neither config.json nor one GGUF file ({len(found)})")
    return found[0]


def _check_causal(folder: Path, destination: Path) -> None:
    try:
        config = read_settings(folder)
    except UnreadableError as error:
        raise SourceError(f"{destination}: config.json: {error.reason}") from error
    problem = causal_problem(config)
    if problem is not None:
        raise SourceError(f"{destination}: {problem}")
    _check_known(config, destination)
    for what, pattern in {"weights": "*.safetensors", "tokenizer": "tokenizer*"}.items():
        if not any(folder.glob(pattern)):
            raise SourceError(f"{destination}: no {what} ({pattern})")


def _check_known(config: dict, destination: Path) -> None:
    """``transformers`` itself must have the model's class: code of a repository is never run."""
    from transformers import CONFIG_MAPPING, __version__
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    kind = config.get("model_type")
    own = MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.get(kind)
    remote = (config.get("auto_map") or {}).get("AutoModelForCausalLM")
    if kind not in CONFIG_MAPPING or (remote and str(remote).rpartition(".")[2] != own):
        needs = f", which needs code of its repository ({remote})" if remote else ""
        raise SourceError(
            f"{destination}: model_type is {kind!r}{needs}; allowed: a model that transformers "
            f"{__version__} has"
        )


def _check_whole(folder: Path, destination: Path) -> None:
    """Check what can be seen on the model itself; no weight of it is held."""
    from transformers import AutoTokenizer

    try:
        model = load_whole(folder, destination, dtype="auto", device_map="meta")
        tokenizer = AutoTokenizer.from_pretrained(folder, **LOCAL)
        check_special_tokens(tokenizer, model.get_input_embeddings().num_embeddings, destination)
        _check_prunable(model, destination)
        check_finite(folder, destination)
    except SourceError:
        raise
    # What a damaged folder raises depends on where the reader stumbles.
    except Exception as error:
        raise SourceError(
            f"{destination}: cannot be loaded: {_in_a_line(error, folder)}"
        ) from error


def _check_prunable(model, destination: Path) -> None:
    # With it comes torch, which who reads a configuration has no use for.
    from baselines.pruning.layers import check_reachable

    try:
        check_reachable(model)
    except ValueError as error:
        raise SourceError(f"{destination}: {error}") from error


def convert_pytorch(folder: Path) -> None:
    """Replace each `pytorch_model*.bin` of a folder, and their index, by safetensors.

    One file is in memory at a time.

    Raises:
        SourceError: when a file cannot be read, or holds anything but tensors.
    """
    import torch
    from safetensors.torch import save_file

    for path in tqdm(sorted(folder.glob(f"{PYTORCH}*.bin")), desc="convert", unit="file"):
        try:
            tensors = dict(torch.load(path, map_location="cpu", weights_only=True))
        # What an unreadable file raises depends on how it is broken.
        except Exception as error:
            raise _not_converted(path, error) from error
        for name, tensor in tensors.items():
            if not isinstance(tensor, torch.Tensor):
                found = type(tensor).__name__
                raise SourceError(f"{path.name}: {name!r} is a {found}; allowed: tensors by name")
        # Tensors that share memory, or are transposed in it, are refused, and those of a file may.
        tensors = {
            name: tensor.clone(memory_format=torch.contiguous_format)
            for name, tensor in tensors.items()
        }
        save_file(tensors, folder / _as_safetensors(path.name), metadata={"format": "pt"})
        remove(path)
    index = folder / f"{PYTORCH}.bin.index.json"
    if index.is_file():
        content = read_json(index)
        files = content["weight_map"].items()
        content["weight_map"] = {name: _as_safetensors(file) for name, file in files}
        write_json(folder / _as_safetensors(index.name), content)
        remove(index)


def _as_safetensors(name: str) -> str:
    """`pytorch_model-1-of-2.bin` and its kind, as `transformers` calls their safetensors."""
    return name.replace(PYTORCH, "model").replace(".bin", ".safetensors")


def convert_gguf(gguf: Path, folder: Path) -> None:
    """De-quantise a GGUF file to bfloat16 weights; write them, configuration and tokenizer.

    Special tokens stay as the file names them.

    Raises:
        SourceError: when ``transformers`` cannot read the file, or not all of it.
    """
    import torch
    from gguf import GGUFReader
    from transformers import AutoTokenizer, GgufConfig

    with tqdm(total=3, desc=f"convert {gguf.name}", unit="step") as bar:
        try:
            tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name, **LOCAL)
            bar.update()
            model = load_whole(
                gguf.parent,
                gguf.name,
                gguf_file=gguf.name,
                dtype=torch.bfloat16,
                quantization_config=GgufConfig(dequantize=True),
            )
            stored = GGUFReader(gguf)
            _check_all_read(gguf.name, stored, model)
            _check_positions(gguf.name, stored, model)
            bar.update()
        except SourceError:
            raise
        # What a malformed or unknown file raises depends on where the reader stumbles.
        except Exception as error:
            raise _not_converted(gguf, error) from error
        tokenizer.save_pretrained(folder)
        model.save_pretrained(folder)
        bar.update()


def _check_all_read(name: str, stored, model) -> None:
    """Tensors that ``transformers`` has no name for are left out of its model without a word.

    They may be a layer's biases, or the factors of rotary frequencies (``rope_freqs.weight``).
    """
    numbers = sum(int(tensor.n_elements) for tensor in stored.tensors)
    read = sum(weight.numel() for weight in model.parameters())
    if numbers != read:
        raise SourceError(
            f"{name}: {numbers} numbers in its tensors, of which transformers reads {read}; "
            "allowed: a file that it reads as a whole"
        )


def _check_positions(name: str, stored, model) -> None:
    """Of most families ``transformers`` leaves out, without a word, by how much a file has its
    rotary positions scaled: the model would see others than it was trained with.
    """
    stated = {
        key.partition(".")[2]: field.contents()
        for key, field in stored.fields.items()
        if ".rope." in key
    }
    # As llama.cpp has it: linear where the kind is left out, and the older name of the factor.
    kind = stated.get("rope.scaling.type", "linear")
    factor = stated.get("rope.scaling.factor", stated.get("rope.scale_linear", 1))
    read = getattr(model.config.get_text_config(), "rope_parameters", None)
    if kind != "none" and factor not in (0, 1) and kind not in str(read):
        raise SourceError(
            f"{name}: rope.scaling = {kind}, {factor:g}, which transformers does not read; "
            "allowed: rotary positions as they are, or the model as a transformers folder"
        )


def _not_converted(path: Path, error: Exception) -> SourceError:
    return SourceError(f"{path.name}: cannot be converted: {_in_a_line(error, path.parent)}")


def _in_a_line(error: Exception, folder: Path) -> str:
    """The class of an error and its first lines, which are what and why, without the temporary
    folder that it is about.
    """
    reason = " ".join(map(str.strip, str(error).splitlines()[:2]))
    reason = reason.replace(f"{folder}/", "").replace(str(folder), "it")
    return f"{type(error).__name__}: {reason}"
