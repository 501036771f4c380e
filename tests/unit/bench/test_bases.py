"""Pruned bases on disk: exact, small, and bound to their dense model."""

import json
import shutil

import pytest
import torch

from baselines.pruning import PRUNERS, prunable_layers, prune
from baselines.repair import build_repair
from bench.models.bases import BASE_FILE, load_base, pack_bits, save_base, unpack_bits
from bench.models.loading import load_model

CPU = torch.device("cpu")
CALIBRATION = torch.randint(0, 300, (4, 16), generator=torch.Generator().manual_seed(0))
KEPT = [name for name in PRUNERS if PRUNERS[name].keeps_weights]
BITS = {torch.float32: torch.int32, torch.bfloat16: torch.int16}


@pytest.fixture(scope="module")
def float32(dense, tmp_path_factory):
    """The model in float32, with zeros of either sign among the weights of every layer.

    One layer has so many that pruning leaves some of them in it.
    """
    folder = tmp_path_factory.mktemp("models") / "float32"
    shutil.copytree(dense, folder)
    model = load_model(dense, CPU, torch.float32)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, layer in prunable_layers(model).items():
            # Digits that bfloat16 has not, so that loading rounds.
            layer.weight.mul_(1 + 1e-3 * torch.rand(layer.weight.shape, generator=generator))
            share = 0.9 if name.endswith("0.mlp.up_proj") else 0.2
            chance = torch.rand(layer.weight.shape, generator=generator)
            layer.weight[chance < share] = -0.0
            layer.weight[chance < share / 2] = 0.0
    model.save_pretrained(folder)
    return folder


def pruned(folder, pruner, pattern="s60", dtype=torch.float32):
    model = load_model(folder, CPU, dtype)
    prune(model, pruner, pattern=pattern, calibration=CALIBRATION)
    return model


def bits(model):
    return {name: tensor.view(BITS[tensor.dtype]) for name, tensor in model.state_dict().items()}


@pytest.mark.parametrize("dtype", BITS, ids=str)
@pytest.mark.parametrize("pattern", ["s60", "2of4"])
@pytest.mark.parametrize("pruner", PRUNERS)
def test_what_is_loaded_is_bit_for_bit_what_was_pruned(float32, tmp_path, pruner, pattern, dtype):
    model = pruned(float32, pruner, pattern, dtype)
    save_base(model, tmp_path, dense=float32, pruner=pruner)
    loaded = load_base(tmp_path, dense=float32, device=CPU, dtype=dtype)
    assert type(loaded) is type(model)
    assert not loaded.training
    expected, found = bits(model), bits(loaded)
    assert expected.keys() == found.keys()
    assert all(torch.equal(expected[name], found[name]) for name in expected)


@pytest.mark.parametrize("pruner", KEPT)
def test_negative_zeros_that_stay_are_among_what_was_tested(float32, pruner):
    layers = prunable_layers(pruned(float32, pruner)).values()
    assert any(((layer.weight == 0) & layer.weight.signbit()).any() for layer in layers)


def test_a_base_of_another_dtype_is_that_base_rounded(float32, tmp_path):
    for pruner in PRUNERS:
        model = pruned(float32, pruner)
        save_base(model, tmp_path, dense=float32, pruner=pruner)
        loaded = load_base(tmp_path, dense=float32, device=CPU, dtype=torch.bfloat16)
        expected, found = bits(model.bfloat16()), bits(loaded)
        assert all(torch.equal(expected[name], found[name]) for name in expected)


@pytest.mark.parametrize("pruner", PRUNERS)
def test_a_bit_a_weight_and_what_the_pruner_changed(dense, tmp_path, pruner):
    model = pruned(dense, pruner, dtype=torch.bfloat16)
    save_base(model, tmp_path, dense=dense, pruner=pruner)
    layers = prunable_layers(model)
    expected = sum(layer.weight.numel() for layer in layers.values()) / 8
    if not PRUNERS[pruner].keeps_weights:
        expected += 2 * sum(int(layer.weight.count_nonzero()) for layer in layers.values())
    header = 300 * len(layers)
    assert expected < (tmp_path / BASE_FILE).stat().st_size < expected + header


@pytest.mark.parametrize("shape", [(3, 5), (8, 8), (1, 1), (2, 17)])
def test_packed_bits_are_unpacked(shape):
    mask = torch.rand(shape, generator=torch.Generator().manual_seed(0)) < 0.4
    packed = pack_bits(mask)
    assert packed.shape == ((mask.numel() + 7) // 8,)
    assert torch.equal(unpack_bits(packed, mask.shape), mask)


def one_line(*arguments, **keywords) -> str:
    with pytest.raises(ValueError, match=BASE_FILE) as error:
        load_base(*arguments, **keywords, device=CPU, dtype=torch.float32)
    (line,) = str(error.value).splitlines()
    return line


def test_a_damaged_base_is_named(dense, tmp_path):
    assert "no whole pruned base" in one_line(tmp_path, dense=dense)
    save_base(pruned(dense, "sparsegpt"), tmp_path, dense=dense, pruner="sparsegpt")
    path = tmp_path / BASE_FILE
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    assert "no whole pruned base" in one_line(tmp_path, dense=dense)
    path.write_bytes(b"not safetensors")
    assert "no whole pruned base" in one_line(tmp_path, dense=dense)


def test_an_adapter_names_the_pruned_base(dense, tmp_path):
    save_base(pruned(dense, "wanda"), tmp_path, dense=dense, pruner="wanda")
    repair = build_repair("lora")
    base = load_base(tmp_path, dense=dense, device=CPU, dtype=torch.float32)
    repair.save(repair.wrap(base, seed=0), tmp_path / "lora")
    saved = json.loads((tmp_path / "lora/adapter_config.json").read_text())
    assert saved["base_model_name_or_path"] == str(tmp_path)
