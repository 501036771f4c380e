"""Widths and parameters of a model, from its shape."""

import json
import subprocess
import sys

import pytest
import torch
from layers import read_layers
from transformers import AutoConfig, AutoModelForCausalLM, LlamaConfig, Qwen3Config

from baselines.pruning import prunable_layers
from bench.config.loading import load
from bench.config.models import shape_of
from bench.models.shape import Shape, read_shape
from bench.paths import ROOT
from bench.planning.preflight import find_problems
from bench.sources import SyntheticSource

KEYS = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 512,
}


@pytest.mark.parametrize("keys", [{"tie_word_embeddings": True}, {"head_dim": 24}, {}])
def test_numbers_are_those_of_the_model_that_a_config_json_describes(tmp_path, keys):
    config = LlamaConfig(**KEYS, **keys)
    config.save_pretrained(tmp_path)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    layers = prunable_layers(model).values()
    shape = read_shape(tmp_path)
    assert shape.parameters == sum(parameter.numel() for parameter in model.parameters())
    assert shape.prunable == sum(layer.weight.numel() for layer in layers)
    assert shape.widths == sorted({layer.in_features for layer in layers})


@pytest.mark.parametrize("family", ["gemma2", "opt", "llama"])
def test_an_embedding_that_config_json_leaves_to_its_family_is_the_models(tmp_path, family):
    settings = KEYS | {"model_type": family, "word_embed_proj_dim": 64, "pad_token_id": 0}
    (tmp_path / "config.json").write_text(json.dumps(settings))
    model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(tmp_path))
    tied = model.get_input_embeddings().weight is model.get_output_embeddings().weight
    assert read_shape(tmp_path).tied == tied == (family != "llama")


def test_transformers_is_not_imported_for_what_config_json_says(tmp_path):
    LlamaConfig(**KEYS).save_pretrained(tmp_path)
    code = (
        "import sys; from pathlib import Path; from bench.models.shape import read_shape; "
        f"print(read_shape(Path({str(tmp_path)!r})).blocks, 'transformers' in sys.modules)"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert answer.stdout.split() == ["3", "False"]


def test_the_default_model_has_as_many_parameters_as_its_file():
    spec = load(read_layers()).models["smollm2-135m"]
    assert shape_of(spec, "smollm2-135m").parameters == 134_515_008


def test_llama2_7b_has_as_many_parameters_as_published():
    shape = Shape(
        blocks=32,
        hidden=4096,
        intermediate=11008,
        heads=32,
        key_value_heads=32,
        vocabulary=32000,
    )
    assert shape.parameters == 6_738_415_616


def test_a_shape_is_read_of_a_fetched_model_once_it_is_there(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    values = read_layers()
    del values["models"]["smollm2-135m"]["shape"]
    spec = load(values).models["smollm2-135m"]
    assert shape_of(spec, "smollm2-135m") is None
    LlamaConfig(**KEYS).save_pretrained(tmp_path / "resources/models/smollm2-135m")
    assert shape_of(spec, "smollm2-135m").widths == [64, 96]


def test_a_model_that_is_not_described_like_llama_has_no_shape(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"n_embd": 64, "n_layer": 2}))
    assert read_shape(tmp_path) is None


def test_opt_names_its_mlp_in_its_own_way(tmp_path):
    keys = {key: value for key, value in KEYS.items() if key != "intermediate_size"}
    (tmp_path / "config.json").write_text(json.dumps(keys | {"ffn_dim": 256}))
    assert read_shape(tmp_path).widths == [64, 256]


@pytest.mark.parametrize("stated", ["max_position_embeddings", "n_positions"])
def test_more_tokens_than_the_model_takes_are_said_before_any_job(tmp_path, stated):
    settings = KEYS | {"architectures": ["LlamaForCausalLM"]}
    values = read_layers()
    values["models"]["mine"] = {"source": {"source": "path", "path": str(tmp_path)}}
    values["grid"]["models"] = ["mine"]
    lengths = {
        "evaluation.tasks.wiki.context_length": 512,
        "calibration.length": 256,
        "training.length": 128,
    }

    def problems(limit: int) -> dict[str, str]:
        (tmp_path / "config.json").write_text(json.dumps(settings | {stated: limit}))
        lines = find_problems(load(values))
        return {line.partition(" = ")[0]: line for line in lines}

    assert not problems(512)
    for limit in (511, 255, 127):
        found = problems(limit)
        assert found.keys() == {key for key, length in lengths.items() if length > limit}
        for key, line in found.items():
            assert line.startswith(
                f"{key} = {lengths[key]}: model 'mine' takes at most {limit} tokens; "
                f"allowed: up to {limit}"
            )
    values["models"]["mine"]["context_length"] = 256
    assert not problems(256)
    # What is not used is not compared.
    values["grid"] |= {"pruners": ["magnitude"], "repairs": ["none"]}
    values["models"]["mine"]["context_length"] = 64
    values["evaluation"]["tasks"]["social_iqa"]["context_length"] = 64
    assert not problems(64)


def test_a_model_of_another_source_that_was_fetched_before_says_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "resources/models/mine"
    folder.mkdir(parents=True)
    settings = KEYS | {"architectures": ["LlamaForCausalLM"], "max_position_embeddings": 16}
    (folder / "config.json").write_text(json.dumps(settings))
    values = read_layers()
    values["models"]["mine"] = {"source": {"source": "synthetic"}}
    values["grid"]["models"] = ["mine"]
    config = load(values)
    for seed, known in ((0, True), (1, False)):
        source = SyntheticSource(source="synthetic", seed=seed).model_dump(mode="json")
        (folder / "manifest.json").write_text(json.dumps({"source": source}))
        assert bool(list(find_problems(config))) is known
        assert (shape_of(config.models["mine"], "mine") is not None) is known


def test_a_shape_that_is_not_the_models_is_said_before_any_job(tmp_path):
    config = Qwen3Config(**KEYS, head_dim=32, architectures=["Qwen3ForCausalLM"])
    config.save_pretrained(tmp_path)
    values = read_layers()
    values["models"]["mine"] = {
        "source": {"source": "path", "path": str(tmp_path)},
        "shape": {
            "blocks": 3,
            "hidden": 64,
            "intermediate": 96,
            "heads": 4,
            "key_value_heads": 4,
            "vocabulary": 512,
        },
    }
    values["grid"]["models"] = ["mine"]
    assert list(find_problems(load(values))) == [
        "models.mine.shape.head_dim = 16: allowed: 32, as its config.json says",
        "models.mine.shape.key_value_heads = 4: allowed: 2, as its config.json says",
    ]
