"""Packed weights: what they hold, and that nothing but memory depends on them."""

import subprocess
import sys
from copy import deepcopy
from importlib.util import find_spec

import pytest
import torch
from seft_loop import adamw, make_llama, train
from torch import nn
from torch.autograd.graph import saved_tensors_hooks

import seft
from seft.layer import BitmaskSeftLinear
from seft.storage import Bitmask, BitmaskLinear, pack_layers, unpack_by_torch, unpack_layers

SHAPES = [(5, 8), (7, 13), (1, 1), (3, 2500)]


def sparse(shape=(12, 20), dtype=torch.float32, density=0.4):
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(shape, generator=generator)
    return weight.mul_(torch.rand(shape, generator=generator) < density).to(dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("density", [0, 0.4, 1])
@pytest.mark.parametrize("shape", SHAPES)
def test_packing_loses_nothing(shape, density, dtype):
    weight = sparse(shape, dtype, density)
    packed = Bitmask(weight)
    assert torch.equal(packed.unpack(), weight)
    assert len(packed.values) == int(weight.count_nonzero())
    assert packed.bits.shape == (shape[0], -(-shape[1] // 8))
    assert packed.offsets.tolist() == [0, *(weight != 0).sum(1).cumsum(0)[:-1].tolist()]


def test_what_is_left_of_a_60_percent_sparse_matrix_is_less_than_half():
    weight = sparse((64, 256), torch.bfloat16)
    packed = Bitmask(weight)
    nonzero = int(weight.count_nonzero())
    size = sum(buffer.nbytes for buffer in packed.buffers())
    assert size == 2 * nonzero + 64 * 256 // 8 + 4 * 64
    assert size < weight.nbytes / 2


def test_a_zero_under_the_mask_is_a_value():
    weight, mask = torch.tensor([[0.0, 2.0], [0.0, 0.0]]), torch.tensor([[1, 1], [0, 1]]).bool()
    packed = Bitmask(weight)
    packed.pack(weight, mask)
    assert packed.values.tolist() == [0, 2, 0]
    assert torch.equal(packed.unpack(), weight)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("autocast", [True, False])
def test_a_packed_layer_computes_what_the_plain_one_does(bias, dtype, autocast):
    plain = nn.Linear(20, 12, bias=bias, dtype=dtype).requires_grad_(False)
    plain.weight.copy_(sparse(dtype=dtype))
    packed = BitmaskLinear(plain)
    assert torch.equal(packed.weight, plain.weight)
    results = []
    for layer in (plain, packed):
        x = torch.linspace(-1, 1, 2 * 3 * 20, dtype=dtype).view(2, 3, 20).requires_grad_()
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            y = layer(x)
        y.sin().sum().backward()
        results.append((y, x.grad))
    for ours, theirs in zip(*results, strict=True):
        assert ours.dtype == theirs.dtype
        assert torch.equal(ours, theirs)


def test_packing_a_model_is_undone_by_unpacking_it():
    model, names = make_llama(torch.bfloat16), ["model.layers.0.mlp.up_proj", "lm_head"]
    weights = {name: model.get_submodule(name).weight.clone() for name in names}
    pack_layers(model, names)
    assert all(isinstance(model.get_submodule(name), BitmaskLinear) for name in names)
    assert not any(f"{name}.weight" in dict(model.named_parameters()) for name in names)
    unpack_layers(model)
    for name, weight in weights.items():
        layer = model.get_submodule(name)
        assert type(layer) is nn.Linear
        assert torch.equal(layer.weight, weight)


@pytest.mark.parametrize("storage", seft.storage.STORAGES)
def test_no_copy_of_a_weight_or_a_mask_is_saved_for_backward(tokens, storage):
    model = seft.get_seft_model(make_llama(), seft.SeftConfig(density=0.1, storage=storage))
    layers = model.seft_layers.values()
    sizes = {layer.in_features * layer.out_features for layer in layers}
    held = {tensor.data_ptr() for tensor in [*model.parameters(), *model.buffers()]}
    saved = []
    with saved_tensors_hooks(lambda tensor: saved.append(tensor) or tensor, lambda tensor: tensor):
        model.train()(input_ids=tokens[:5], labels=tokens[:5])
    assert len(saved) > 14
    assert not [t.shape for t in saved if t.data_ptr() not in held and t.numel() in sizes]
    dense = any(tensor.numel() in sizes for tensor in saved)
    assert dense == (storage == "dense")


def without_time(log):
    return [{key: value for key, value in entry.items() if key != "seconds"} for entry in log]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"dtype": torch.bfloat16, "density": 0.15},
        {"mask": "fixed", "init": "random"},
        {"mask": "free", "moments": "seeded"},
        {"candidates": 3, "stagger": True},
        {"base_pattern": (2, 4), "pattern": (2, 4)},
    ],
)
def test_seft_is_the_same_in_either_storage(trained, options):
    (dense, _, _), (packed, _, _) = (trained(**options, storage=s) for s in seft.storage.STORAGES)
    assert all(isinstance(layer, BitmaskSeftLinear) for layer in packed.seft_layers.values())
    assert without_time(packed.evolution_log) == without_time(dense.evolution_log)
    ours, theirs = packed.state_dict(), dense.state_dict()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    ours, theirs = (model.merge_and_unload().state_dict() for model in (packed, dense))
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_memory_of_a_packed_layer_never_changes(trained):
    model, _, _ = trained(steps=20, storage="bitmask")
    assert any(entry["removed"] for entry in model.evolution_log)
    for name, layer in model.seft_layers.items():
        assert len(layer.packed.values) == layer.structural_entries == layer.budget, name
        assert torch.equal(layer.packed.values[layer.slots], layer.weight.view(-1)[layer.indices])


def test_a_delta_saved_from_one_storage_loads_into_the_other(trained, tokens, tmp_path):
    dense, optimizer, evolver = trained(steps=9)
    dense.save_pretrained(tmp_path)
    config = seft.SeftConfig.from_pretrained(tmp_path)
    config.storage = "bitmask"
    packed = seft.get_seft_model(make_llama(), config)
    packed.load_state_dict(dense.state_dict())
    own = adamw(packed)
    own.load_state_dict(deepcopy(optimizer.state_dict()))
    train(packed, tokens, own, seft.Evolver(packed, total_steps=20, step=9), range(10, 15))
    train(dense, tokens, optimizer, evolver, range(10, 15))
    ours, theirs = packed.state_dict(), dense.state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_layers_that_are_packed_already_stay_so(tokens):
    name = "model.layers.1.mlp.down_proj"
    model = seft.get_seft_model(pack_layers(make_llama(), [name]), seft.SeftConfig(density=0.1))
    packed = [n for n, m in model.seft_layers.items() if isinstance(m, BitmaskSeftLinear)]
    assert packed == [name]
    with torch.no_grad():
        expected = make_llama()(input_ids=tokens).logits
        assert torch.equal(model(input_ids=tokens).logits, expected)


KERNEL = """
import torch
from seft.storage import Bitmask, unpack_by_torch
from seft.storage.kernels import unpack_by_triton
device = "cuda" if torch.cuda.is_available() else "cpu"
for shape in {shapes}:
    for dtype in (torch.float32, torch.bfloat16, torch.float16):
        weight = torch.randn(shape, device=device)
        packed = Bitmask((weight * (torch.rand_like(weight) < 0.4)).to(dtype))
        arguments = (packed.bits, packed.values, packed.offsets, packed.columns)
        expected = unpack_by_torch(*arguments)
        assert torch.equal(unpack_by_triton(*arguments), expected), (shape, dtype)
"""


@pytest.mark.skipif(not find_spec("triton"), reason="Triton is not installed")
def test_the_kernel_unpacks_as_torch_does(monkeypatch):
    # Without a GPU, Triton's interpreter runs the kernel; it is asked for before the import.
    if not torch.cuda.is_available():
        monkeypatch.setenv("TRITON_INTERPRET", "1")
    subprocess.run([sys.executable, "-c", KERNEL.format(shapes=SHAPES)], check=True)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_a_gpu_unpacks_by_the_kernel():
    packed = Bitmask(sparse((300, 2500)).cuda())
    expected = unpack_by_torch(packed.bits, packed.values, packed.offsets, packed.columns)
    assert torch.equal(packed.unpack(), expected)
