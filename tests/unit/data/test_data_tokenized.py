"""Tokens are compared with the model that is to read them."""

import json

import pytest
from safetensors.torch import load_file
from transformers import AutoTokenizer

from bench.data.forms import DataError
from bench.data.tokens import Blocks
from bench.origin import mark
from bench.sources import SyntheticSource, fetch_model
from bench.sources.base import write_manifest
from bench.stages.tokenize import tokenize_calibration, tokenize_repair

SOURCE = SyntheticSource(source="synthetic", articles=4, items=20)
CONFIG = {
    "model": SOURCE.model_dump(mode="json"),
    "data": {"notes": {"spec": {"source": "mine"}, "source": {"source": "path"}}},
}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A model of 512 positions, whose tokenizer has a token more than its embedding has rows."""
    folder = tmp_path_factory.mktemp("models") / "mine"
    fetch_model(SOURCE, folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_tokens("<|end|>", special_tokens=True)
    tokenizer.save_pretrained(folder)
    write_manifest(folder, SOURCE)
    return folder


def calibrate(model, data, length):
    output = data.parent / "calibration.safetensors"
    settings = {"data": data.name, "split": "train", "samples": 2, "length": length, "seed": 0}
    config = CONFIG | {"calibration": settings | {"sampling": "joined"}}
    tokenize_calibration(str(model), str(data), str(output), config)
    return load_file(output)["input_ids"]


def pack(model, data, length):
    output = data.parent / "train.safetensors"
    packing = {"mixture": {data.name: 1.0}, "split": "train", "blocks": 2, "length": length}
    config = CONFIG | {"packing": packing | {"prompt_loss": False}}
    tokenize_repair(str(model), [str(data)], str(output), config)
    return Blocks.load(output).input_ids


STEPS = {"calibration": calibrate, "training": pack}


def texts(folder, text):
    items = [{"id": str(number), "text": f"{number} {text}"} for number in range(400)]
    (folder / "notes").mkdir()
    lines = "".join(f"{json.dumps(item)}\n" for item in items)
    (folder / "notes/train.jsonl").write_text(lines)
    mark(folder / "notes", CONFIG["data"]["notes"])
    return folder / "notes"


@pytest.mark.parametrize("section", STEPS)
def test_more_tokens_than_the_model_takes(model, tmp_path, section):
    data = texts(tmp_path, "the red lamp is kept in the box")
    assert STEPS[section](model, data, 512).shape == (2, 512)
    with pytest.raises(DataError) as error:
        STEPS[section](model, data, 513)
    assert str(error.value) == (
        f"{section}.length = 513: model 'mine' takes at most 512 tokens; allowed: up to 512"
    )


@pytest.mark.parametrize("section", STEPS)
def test_a_token_without_a_row(model, tmp_path, section):
    rows = json.loads((model / "config.json").read_text())["vocab_size"]
    with pytest.raises(DataError) as error:
        STEPS[section](model, texts(tmp_path, "the red lamp<|end|>"), 16)
    assert f"token '<|end|>' has id {rows}, and the embedding {rows} rows" in str(error.value)
    assert "\n" not in str(error.value)
