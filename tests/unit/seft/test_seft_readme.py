"""The library's README, run from its first example to its last."""

import json
import re
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

import seft
from baselines.pruning import prune, sparsity_report
from bench.sources import SyntheticSource, fetch_model

README = Path(seft.__file__).with_name("README.md")
LINES = 256


@pytest.fixture(scope="module")
def workspace(tmp_path_factory):
    """A folder with what the examples take as given."""
    folder = tmp_path_factory.mktemp("readme")
    sparse = folder / "sparse-model"
    fetch_model(SyntheticSource(source="synthetic"), sparse)
    model = AutoModelForCausalLM.from_pretrained(sparse)
    prune(model, "magnitude", sparsity=0.5)
    model.save_pretrained(sparse)
    texts = [{"text": f"Note {n} says that {n} is a number."} for n in range(LINES)]
    (folder / "train.jsonl").write_text("".join(json.dumps(text) + "\n" for text in texts))
    return folder


@pytest.fixture(scope="module")
def examples(workspace):
    """The names that the examples define, by the heading that they stand under."""
    sections = re.findall(r"^## (.*?)\n(.*?)(?=^## |\Z)", README.read_text(), re.M | re.S)
    names, defined = {}, {}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(workspace)
        patch.setenv("HF_HUB_OFFLINE", "1")
        for heading, text in sections:
            for block in re.findall(r"```python\n(.*?)```", text, re.S):
                exec(block, names)
            defined[heading] = dict(names)
    return defined


@pytest.mark.parametrize("trainer", ["transformers' Trainer", "TRL", "a loop of your own"])
def test_models_learn_and_evolve_and_stay_as_sparse(examples, workspace, trainer):
    model = examples[f"With {trainer}"]["model"]
    base = AutoModelForCausalLM.from_pretrained(workspace / "sparse-model")
    for name, layer in model.seft_layers.items():
        weight = base.get_parameter(f"{name}.weight")
        assert layer.budget == layer.structural_entries == int(weight.count_nonzero())
        assert len(layer.indices) == len(layer.delta) == 8 * sum(weight.shape)
        assert not torch.equal(layer.weight, weight)
    assert {entry["layer"] for entry in model.evolution_log} == set(model.seft_layers)


def test_the_repaired_model_is_a_plain_one(examples, workspace):
    merged = examples["Save, load, merge"]["repaired"]
    loaded = AutoModelForCausalLM.from_pretrained(workspace / "repaired")
    assert type(merged) is type(loaded)
    for name, parameter in merged.named_parameters():
        assert torch.equal(loaded.get_parameter(name), parameter), name
    base = AutoModelForCausalLM.from_pretrained(workspace / "sparse-model")
    # A trained entry can hit zero by chance; the mask is as large as it was.
    assert sparsity_report(loaded).sparsity >= sparsity_report(base).sparsity


def test_packed_files_hold_the_repaired_model(examples, workspace):
    names = examples["Files of half the size"]
    ours, theirs = names["same"].state_dict(), names["repaired"].state_dict()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    plain, packed = workspace / "repaired/model.safetensors", workspace / "packed"
    assert (packed / "bitmask.safetensors").stat().st_size < plain.stat().st_size
