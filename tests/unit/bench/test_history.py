"""What is kept of a training, beside its record."""

import itertools
import math
import re
from dataclasses import asdict, replace

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny import tiny_llama

from baselines.pruning import prunable_layers
from bench.cells import Cell, dense_cell, history_path, record_path
from bench.files import UnreadableError, write_json_lines
from bench.models.loading import read_layers
from bench.records.history import (
    EVOLUTIONS,
    make_history,
    no_history,
    read_histories,
    sparsity_ranges,
    write_history,
)

CELL = Cell("m", "wanda", "s60", "seft", 0)
UP = "model.layers.1.mlp.up_proj"


@pytest.fixture(scope="module")
def model():
    return tiny_llama()


@pytest.fixture
def base(model, tmp_path):
    """The model's folder, in files of a few tensors each; `up_proj` has one zero."""
    with torch.no_grad():
        model.get_submodule(UP).weight.fill_(1)[0, 0] = 0
    model.save_pretrained(tmp_path / "base", max_shard_size="2KB")
    assert len(list((tmp_path / "base").glob("*.safetensors"))) > 1
    return tmp_path / "base"


def evolved(layer, step, **changes):
    counts = {"grown": 4, "reactivated": 1, "overlap": 0.75}
    return {"layer": layer, "step": step, **counts, **changes}


def test_changes_are_measured_layer_by_layer_against_the_base_on_disk(model, base):
    weight = model.get_submodule(UP).weight
    with torch.no_grad():
        weight[0, 0] = 2  # enters
        weight[0, 1] = 0  # leaves
        weight[0, 2] = 3  # changes
    layers = make_history([], [], read_layers(base, model), model)["layers"]
    assert len(layers) == 2 * 7
    change = math.sqrt(2**2 + 1**2 + 2**2) / math.sqrt(24 * 16 - 1)
    assert layers.pop(UP) == {
        "change": pytest.approx(change, rel=1e-3),
        "entered": pytest.approx(1 / 384, rel=1e-3),
        "left": pytest.approx(1 / 384, rel=1e-3),
    }
    assert all(set(layer.values()) == {0} for layer in layers.values())


def test_layers_are_read_by_name_from_several_files(model, base):
    read = dict(read_layers(base, model))
    assert len(read) == 2 * 7
    assert all(
        torch.equal(tensor, model.get_submodule(name).weight) for name, tensor in read.items()
    )


def test_layers_are_those_of_the_model_whatever_its_files_call_them(model, base, tmp_path):
    for file in base.glob("*.safetensors"):
        tensors = load_file(file)
        renamed = {name.removeprefix("model."): tensor for name, tensor in tensors.items()}
        save_file(renamed, file, metadata={"format": "pt"})
    assert not any(name.startswith("model.") for name in renamed)
    read = dict(read_layers(base, model))
    assert read.keys() == prunable_layers(model).keys()
    assert all(
        torch.equal(tensor, model.get_submodule(name).weight) for name, tensor in read.items()
    )


def test_evolutions_are_shares_by_step_and_layer(model, base):
    log = [evolved(UP, 2), evolved(UP, 1, grown=0, reactivated=0)]
    evolution = make_history([], log, read_layers(base, model), model)["evolution"]
    layer = list(make_history([], [], read_layers(base, model), model)["layers"]).index(UP)
    assert evolution == {
        "step": [1, 2],
        "layer": [layer] * 2,
        "reactivated": [None, 0.25],
        "overlap": [0.75, 0.75],
    }


def test_many_evolutions_are_thinned_and_the_last_one_stays(model, base):
    steps = range(1, 10 * EVOLUTIONS)
    log = [evolved(UP, step) for step in steps]
    kept = make_history([], log, read_layers(base, model), model)["evolution"]["step"]
    assert EVOLUTIONS / 2 < len(kept) <= EVOLUTIONS
    assert kept[-1] == steps[-1]
    assert len({b - a for a, b in itertools.pairwise(kept)}) == 1


def test_no_evolution_is_left_out_of_the_range_of_sparsities():
    log = [evolved(UP, step, sparsity=0.5) for step in range(1, 10 * EVOLUTIONS)]
    log[3]["sparsity"] = 0.4
    log.append(evolved("other", 1, sparsity=0.7))
    assert sparsity_ranges(log) == {UP: [0.4, 0.5], "other": [0.7, 0.7]}
    assert sparsity_ranges([]) is None


def test_a_history_is_read_back_by_its_cell(tmp_path):
    history = no_history() | {"training": [{"step": 1, "loss": 2.0, "learning_rate": 0.1}]}
    path = tmp_path / history_path(CELL)
    write_history(path, CELL, history)
    assert read_histories([path]) == {CELL: history}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"cell": {}}, "0.cell.model: missing"),
        ({"cell": {"model": []}}, "0.cell.model = []: allowed: a valid string"),
        ({"training": [{"step": 1, "loss": "low"}]}, "0.training.0.loss = 'low'"),
        ({"layers": {"q": 3}}, "0.layers.q = 3: allowed keys: change, entered, left"),
        ({"cell": asdict(replace(CELL, seed=1))}, "it belongs at cells/m/wanda-s60/seft/seed1/"),
    ],
)
def test_a_history_from_elsewhere_is_refused_in_a_line(tmp_path, changes, said):
    path = tmp_path / history_path(CELL)
    write_json_lines(path, [{"cell": asdict(CELL), **no_history(), **changes}])
    with pytest.raises(UnreadableError, match=re.escape(said)) as error:
        read_histories([path])
    assert len(str(error.value).splitlines()) == 1


def test_it_lies_beside_its_record():
    assert history_path(CELL) == "results/cells/m/wanda-s60/seft/seed0/history.json.gz"
    for cell in (CELL, dense_cell("m")):
        assert history_path(cell).rpartition("/")[0] == record_path(cell).rpartition("/")[0]
