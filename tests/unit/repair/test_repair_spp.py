"""SPP against a transcription of its definition in plain loops."""

import math
from copy import deepcopy

import pytest
import torch
from torch import nn

from baselines.pruning import prunable_layers
from baselines.repair.base import repaired_layers
from baselines.repair.dropout import dropout
from baselines.repair.spp import SppLinear

# (outputs m, rows r of alpha): r divides m, leaves a smaller last group, leaves the last rows of
# alpha without outputs, and is larger than m.
SHAPES = [(8, 4), (7, 3), (9, 8), (5, 16), (6, 1)]
INPUTS, SCALE = 5, 2.0

every_shape = pytest.mark.parametrize(("outputs", "rank"), SHAPES)


def layer_of(outputs: int, rank: int, dropout: float = 0.0, dtype=torch.float64) -> SppLinear:
    """An SPP layer half of whose weights are zero and whose beta is not."""
    generator = torch.Generator().manual_seed(0)
    base = nn.Linear(INPUTS, outputs).requires_grad_(False)
    base.weight.copy_(torch.randn(base.weight.shape, generator=generator))
    base.weight[torch.rand(base.weight.shape, generator=generator) < 0.5] = 0
    base.bias.copy_(torch.randn(outputs, generator=generator))
    layer = SppLinear(base, rank, SCALE, dropout, generator)
    nn.init.normal_(layer.beta, generator=generator)
    return layer.to(dtype)


def naive(layer: SppLinear, x: torch.Tensor, alpha: torch.Tensor, beta: torch.Tensor):
    """W x + s Delta W x + b for one token at a time, and W + s Delta W, entry by entry."""
    weight, bias = layer.base_layer.weight, layer.base_layer.bias
    outputs, inputs = weight.shape
    rows = math.ceil(outputs / len(alpha))
    update = [
        [weight[i, j] * beta[i, 0] * alpha[i // rows, j] for j in range(inputs)]
        for i in range(outputs)
    ]
    merged = [[weight[i, j] + SCALE * update[i][j] for j in range(inputs)] for i in range(outputs)]
    y = [
        [sum(merged[i][j] * token[j] for j in range(inputs)) + bias[i] for i in range(outputs)]
        for token in x.flatten(0, -2)
    ]
    return stack(y).view(*x.shape[:-1], outputs), stack(merged)


def stack(rows: list[list[torch.Tensor]]) -> torch.Tensor:
    return torch.stack([torch.stack(row) for row in rows])


@every_shape
def test_forward_and_gradients_are_those_of_the_definition(outputs, rank):
    layer = layer_of(outputs, rank)
    x = torch.randn(2, 3, INPUTS, dtype=torch.float64, requires_grad=True)
    upstream = torch.randn(2, 3, outputs, dtype=torch.float64)
    expected, _ = naive(layer, x, layer.alpha, layer.beta)
    variables = (x, layer.alpha, layer.beta)
    expected_gradients = torch.autograd.grad((expected * upstream).sum(), variables)
    y = layer(x)
    torch.testing.assert_close(y, expected)
    gradients = torch.autograd.grad((y * upstream).sum(), variables)
    for gradient, expected_gradient in zip(gradients, expected_gradients, strict=True):
        torch.testing.assert_close(gradient, expected_gradient)


def test_gradients_are_finite_differences():
    layer = layer_of(7, 3)
    x = torch.randn(4, INPUTS, dtype=torch.float64, requires_grad=True)

    def function(x, alpha, beta):
        parameters = {"alpha": alpha, "beta": beta}
        return torch.func.functional_call(layer, parameters, (x,))

    assert torch.autograd.gradcheck(function, (x, layer.alpha, layer.beta))


def test_dropout_acts_on_the_update_alone():
    layer = layer_of(7, 3, dropout=0.5)
    x = torch.randn(4, INPUTS, dtype=torch.float64)
    torch.manual_seed(0)
    y = layer(x)
    torch.manual_seed(0)
    dropped = dropout(x, 0.5, training=True)
    with_bias, _ = naive(layer, dropped, layer.alpha, layer.beta)
    torch.testing.assert_close(y, layer.base_layer(x) + with_bias - layer.base_layer(dropped))
    layer.eval()
    torch.testing.assert_close(layer(x), naive(layer, x, layer.alpha, layer.beta)[0])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@every_shape
def test_the_merged_weight_is_that_of_the_definition(outputs, rank, dtype):
    layer = layer_of(outputs, rank, dtype=torch.float32)
    layer.base_layer.to(dtype)
    exact = deepcopy(layer).double()
    _, expected = naive(exact, torch.zeros(1, INPUTS), exact.alpha, exact.beta)
    zeros = layer.base_layer.weight == 0
    merged = layer.merge().weight
    assert merged.dtype == dtype
    precision = torch.finfo(dtype).eps
    torch.testing.assert_close(merged, expected.to(dtype), rtol=precision, atol=1e-6)
    assert (merged[zeros] == 0).all()


def test_backward_keeps_no_product_of_the_weights_size():
    layer, saved = layer_of(7, 3), []
    x = torch.randn(4, INPUTS, dtype=torch.float64, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(lambda t: saved.append(t) or t, lambda t: t):
        layer(x).sum()
    others = [t for t in saved if t.data_ptr() != layer.base_layer.weight.data_ptr()]
    assert 0 < len(others) < len(saved)
    assert all(tensor.numel() < layer.base_layer.weight.numel() for tensor in others)


def test_autocast_gives_float32_gradients_of_a_bfloat16_model(tiny):
    tiny.assert_autocast_gradients(layer_of(7, 3, dtype=torch.float32), "alpha", "beta")


def test_parameters_and_their_start(tiny):
    repair, base = tiny.build("spp", rank=16), tiny.pruned_llama()
    targets = prunable_layers(base)
    shapes = {name: tuple(layer.weight.shape) for name, layer in targets.items()}
    model = repair.wrap(base, seed=0)
    layers = repaired_layers(model)
    assert layers.keys() == shapes.keys()
    for name, layer in layers.items():
        outputs, inputs = shapes[name]
        assert layer.alpha.shape == (16, inputs)
        assert layer.beta.shape == (outputs, 1)
        assert not layer.beta.any()
        # Kaiming-uniform with a = sqrt(5): bound sqrt(6 / (1 + a^2)) / sqrt(inputs).
        assert 0.9 < layer.alpha.abs().max() * math.sqrt(inputs) <= 1
    assert repair.trainable_parameters(model) == sum(16 * n + m for m, n in shapes.values())


def test_the_seed_decides_alpha(tiny):
    def first_alpha(seed: int) -> torch.Tensor:
        model = tiny.build("spp").wrap(tiny.pruned_llama(), seed=seed)
        return next(iter(repaired_layers(model).values())).alpha

    assert torch.equal(first_alpha(0), first_alpha(0))
    assert not torch.equal(first_alpha(0), first_alpha(1))


def test_the_weights_stay_until_merged(tiny):
    base = {name: layer.weight for name, layer in prunable_layers(tiny.pruned_llama()).items()}
    for name, layer in repaired_layers(tiny.trained("spp")).items():
        assert torch.equal(layer.base_layer.weight, base[name])


def test_another_rank_is_not_loaded(tiny, tmp_path):
    tiny.build("spp").save(tiny.trained("spp"), tmp_path)
    message = r"q_proj.alpha: shape \(4, 40\) expected, \(16, 40\) saved|alpha: shape \(4, "
    with pytest.raises(ValueError, match=message):
        tiny.build("spp", rank=4).load(tiny.pruned_llama(), tmp_path)
