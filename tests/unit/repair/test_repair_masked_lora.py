"""Masked LoRA against a transcription of its definition in plain loops."""

import math
from copy import deepcopy

import pytest
import torch
from torch import nn

from baselines.pruning import prunable_layers
from baselines.repair.base import repaired_layers
from baselines.repair.masked_lora import MaskedLoraLinear

OUTPUTS, INPUTS, SCALE = 6, 5, 2.0

every_rank = pytest.mark.parametrize("rank", [1, 3])


def layer_of(rank: int, bias: bool = True, dtype=torch.float64) -> MaskedLoraLinear:
    """A layer half of whose weights are zero and whose B is not."""
    generator = torch.Generator().manual_seed(0)
    base = nn.Linear(INPUTS, OUTPUTS, bias=bias).requires_grad_(False)
    base.weight.copy_(torch.randn(base.weight.shape, generator=generator))
    base.weight[torch.rand(base.weight.shape, generator=generator) < 0.5] = 0
    if bias:
        base.bias.copy_(torch.randn(OUTPUTS, generator=generator))
    layer = MaskedLoraLinear(base, rank, SCALE, generator)
    nn.init.normal_(layer.B, generator=generator)
    return layer.to(dtype)


def naive_weight(layer: MaskedLoraLinear, A: torch.Tensor, B: torch.Tensor) -> torch.Tensor:
    """W + s (B A) * 1[W], entry by entry."""
    weight = layer.base_layer.weight
    rows = [
        torch.stack(
            [
                weight[i, j] + SCALE * sum(B[i, r] * A[r, j] for r in range(len(A)))
                if weight[i, j] != 0
                else weight[i, j]
                for j in range(INPUTS)
            ]
        )
        for i in range(OUTPUTS)
    ]
    return torch.stack(rows)


def naive(layer: MaskedLoraLinear, x: torch.Tensor, A: torch.Tensor, B: torch.Tensor):
    weight, bias = naive_weight(layer, A, B), layer.base_layer.bias
    y = torch.stack([weight @ token for token in x.flatten(0, -2)]).view(*x.shape[:-1], OUTPUTS)
    return y if bias is None else y + bias


@pytest.mark.parametrize("bias", [True, False])
@every_rank
def test_forward_and_gradients_are_those_of_the_definition(rank, bias):
    layer = layer_of(rank, bias)
    x = torch.randn(2, 3, INPUTS, dtype=torch.float64, requires_grad=True)
    upstream = torch.randn(2, 3, OUTPUTS, dtype=torch.float64)
    variables = (x, layer.A, layer.B)
    expected = naive(layer, *variables)
    expected_gradients = torch.autograd.grad((expected * upstream).sum(), variables)
    y = layer(x)
    torch.testing.assert_close(y, expected)
    gradients = torch.autograd.grad((y * upstream).sum(), variables)
    for gradient, expected_gradient in zip(gradients, expected_gradients, strict=True):
        torch.testing.assert_close(gradient, expected_gradient)


def test_gradients_are_finite_differences():
    layer = layer_of(3)
    x = torch.randn(4, INPUTS, dtype=torch.float64, requires_grad=True)

    def function(x, A, B):
        return torch.func.functional_call(layer, {"A": A, "B": B}, (x,))

    assert torch.autograd.gradcheck(function, (x, layer.A, layer.B))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@every_rank
def test_the_merged_weight_is_that_of_the_definition(rank, dtype):
    layer = layer_of(rank, dtype=torch.float32)
    layer.base_layer.to(dtype)
    exact = deepcopy(layer).double()
    expected = naive_weight(exact, exact.A, exact.B)
    zeros = layer.base_layer.weight == 0
    merged = layer.merge().weight
    assert merged.dtype == dtype
    torch.testing.assert_close(merged, expected.to(dtype), rtol=torch.finfo(dtype).eps, atol=1e-6)
    assert (merged[zeros] == 0).all()


def test_backward_keeps_nothing_of_the_weights_size():
    layer, saved = layer_of(1), []
    x = torch.randn(4, INPUTS, dtype=torch.float64, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(lambda t: saved.append(t) or t, lambda t: t):
        layer(x).sum()
    assert saved
    assert all(tensor.numel() < layer.base_layer.weight.numel() for tensor in saved)


def test_autocast_gives_float32_gradients_of_a_bfloat16_model(tiny):
    tiny.assert_autocast_gradients(layer_of(3, dtype=torch.float32), "A", "B")


def test_the_budget_and_the_start_are_those_of_lora(tiny):
    counts = {}
    for name in ("lora", "masked-lora"):
        repair = tiny.build(name)
        model = repair.wrap(tiny.pruned_llama(), seed=0)
        counts[name] = repair.trainable_parameters(model)
    assert counts["masked-lora"] == counts["lora"]
    for layer in repaired_layers(model).values():
        assert layer.A.shape == (8, layer.base_layer.in_features)
        assert layer.B.shape == (layer.base_layer.out_features, 8)
        assert not layer.B.any()
        # Kaiming-uniform with a = sqrt(5): bound sqrt(6 / (1 + a^2)) / sqrt(inputs).
        assert 0.9 < layer.A.abs().max() * math.sqrt(layer.base_layer.in_features) <= 1
        assert layer.scale == 2


def test_the_weights_stay_until_merged_and_zeros_stay_afterwards(tiny):
    base = {name: layer.weight for name, layer in prunable_layers(tiny.pruned_llama()).items()}
    model = tiny.trained("masked-lora")
    for name, layer in repaired_layers(model).items():
        assert torch.equal(layer.base_layer.weight, base[name])
    merged = prunable_layers(tiny.build("masked-lora").merge(model, tiny.reprune))
    for name, layer in merged.items():
        assert torch.equal(layer.weight == 0, base[name] == 0)
