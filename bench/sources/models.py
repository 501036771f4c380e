"""From what was fetched to a ``transformers`` folder."""

import json
import shutil
from pathlib import Path

from tqdm import tqdm

from bench.files import read_json, remove, write_json
from bench.sources.base import BaseSource, SourceError
from bench.sources.manifest import FileRecord, Manifest
from bench.sources.staging import staged

PYTORCH = "pytorch_model"


def fetch_model(source: BaseSource, destination: Path) -> Manifest:
    """Bring a causal language model into ``destination``, as a ``transformers`` folder.

    A folder that is one already is taken as it is; weights that are there only in PyTorch's own
    format are written as safetensors. A single GGUF file is de-quantised to bfloat16.

    Raises:
        SourceError: one line that names what failed; nothing is left behind.
    """
    with staged(destination) as folder:
        source.retrieve_model(folder)
        converted_from = {}
        if not (folder / "config.json").is_file():
            gguf = _only_gguf(folder, destination)
            name = gguf.relative_to(folder)
            converted_from[name.as_posix()] = FileRecord.of(gguf)
            convert_gguf(gguf, folder)
            remove(folder / name.parts[0])
        elif not any(folder.glob("*.safetensors")):
            for path in sorted(folder.glob(f"{PYTORCH}*.bin")):
                converted_from[path.name] = FileRecord.of(path)
            convert_pytorch(folder)
        _check_causal(folder, destination)
        for weights in folder.glob("*.safetensors"):
            if not weights.is_symlink():
                # Safetensors writes for the owner alone; on a cluster the group reads too.
                shutil.copymode(folder / "config.json", weights)
        return Manifest.write(folder, source, converted_from)


def _only_gguf(folder: Path, destination: Path) -> Path:
    found = sorted(folder.rglob("*.gguf"))
    if len(found) != 1:
        raise SourceError(f"{destination}: neither config.json nor one GGUF file ({len(found)})")
    return found[0]


def _check_causal(folder: Path, destination: Path) -> None:
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise SourceError(f"{destination}: config.json: {error}") from error
    architectures = config.get("architectures") or []
    if not any(name.endswith(("ForCausalLM", "LMHeadModel")) for name in architectures):
        raise SourceError(
            f"{destination}: architectures is {architectures}; allowed: a causal language model"
        )
    for what, patterns in {
        "weights": ("*.safetensors",),
        "tokenizer": ("tokenizer*",),
    }.items():
        if not any(any(folder.glob(pattern)) for pattern in patterns):
            raise SourceError(f"{destination}: no {what} ({', '.join(patterns)})")


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
            tensors = torch.load(path, map_location="cpu", weights_only=True)
        # What an unreadable file raises depends on how it is broken.
        except Exception as error:
            raise _not_converted(path, error) from error
        # Tensors that share memory are refused, and those of one file may.
        tensors = {name: tensor.clone() for name, tensor in tensors.items()}
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
        SourceError: when ``transformers`` cannot read the file.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    origin = {"pretrained_model_name_or_path": gguf.parent, "gguf_file": gguf.name}
    with tqdm(total=3, desc=f"convert {gguf.name}", unit="step") as bar:
        try:
            tokenizer = AutoTokenizer.from_pretrained(**origin)
            bar.update()
            model = AutoModelForCausalLM.from_pretrained(
                **origin, dtype=torch.bfloat16, quantization_config=GgufConfig(dequantize=True)
            )
            bar.update()
        # What a malformed or unknown file raises depends on where the reader stumbles.
        except Exception as error:
            raise _not_converted(gguf, error) from error
        tokenizer.save_pretrained(folder)
        model.save_pretrained(folder)
        bar.update()


def _not_converted(path: Path, error: Exception) -> SourceError:
    reason = f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"
    return SourceError(f"{path.name}: cannot be converted: {reason}")
