import numpy as np
import pytest
import torch
from pruning_oracles import sparsegpt, to_numpy

from baselines.pruning.pattern import Pattern
from baselines.pruning.sparsegpt import Hessian, SparseGPT, inverse_factor


def linear(weight):
    layer = torch.nn.Linear(*reversed(weight.shape)).to(weight.dtype)
    with torch.no_grad():
        layer.weight.copy_(weight)
    return layer


def prune(weights, inputs, pattern, **options):
    """Prune layers that share their inputs, which arrive in two parts."""
    layers = {f"layer{index}": linear(weight) for index, weight in enumerate(weights)}
    pruner = SparseGPT(**options)
    with torch.no_grad():
        statistic = pruner.statistic(inputs.shape[1], inputs.device)
        for part in inputs.tensor_split([len(inputs) // 3]):
            statistic.add(part)
        pruner.prune(layers, Pattern.parse(pattern), statistic)
    return [to_numpy(layer.weight) for layer in layers.values()]


def correlated(tokens, width):
    """Inputs whose features depend on each other, so that the updates matter."""
    return torch.randn(tokens, width) @ (torch.eye(width) + torch.randn(width, width) / width**0.5)


TOLERANCE = {torch.float32: 1e-4, torch.bfloat16: 1e-2, torch.float16: 2e-3}


def check(pruned, expected, dtype=torch.float32):
    np.testing.assert_array_equal(pruned == 0, expected == 0)
    np.testing.assert_allclose(pruned, expected, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype] / 10)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("shape", [(5, 17), (4, 128), (3, 130), (2, 300), (3, 1)])
@pytest.mark.parametrize("percent", [30, 60])
def test_unstructured(percent, shape, dtype):
    torch.manual_seed(0)
    weight, inputs = torch.randn(shape).to(dtype), correlated(400, shape[1]).to(dtype)
    (pruned,) = prune([weight], inputs, f"s{percent}")
    check(pruned, sparsegpt(to_numpy(weight), to_numpy(inputs), percent), dtype)
    for start in range(0, shape[1], 128):
        block = pruned[:, start : start + 128]
        assert (block == 0).sum() == block.size * percent // 100


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(
    ("n", "m", "width"), [(2, 4, 4), (2, 4, 36), (4, 8, 136), (1, 3, 129), (3, 5, 45)]
)
def test_n_of_m(n, m, width, dtype):
    torch.manual_seed(0)
    weight, inputs = torch.randn(5, width).to(dtype), correlated(300, width).to(dtype)
    (pruned,) = prune([weight], inputs, f"{n}of{m}")
    check(pruned, sparsegpt(to_numpy(weight), to_numpy(inputs), n=n, m=m), dtype)
    assert ((pruned == 0).reshape(5, -1, m).sum(-1) == n).all()


@pytest.mark.parametrize("options", [{"block_size": 5}, {"block_size": 1}, {"damping": 0.5}])
def test_options(options):
    torch.manual_seed(0)
    weight, inputs = torch.randn(6, 18), correlated(60, 18)
    (pruned,) = prune([weight], inputs, "s50", **options)
    check(pruned, sparsegpt(to_numpy(weight), to_numpy(inputs), 50, **options))


@pytest.mark.parametrize("pattern", ["s60", "2of4"])
def test_layers_that_share_inputs_have_masks_of_their_own(pattern):
    """The second layer's weights are so large that a common threshold would spare it."""
    torch.manual_seed(0)
    weights, inputs = [torch.randn(4, 132), 10 * torch.randn(7, 132)], correlated(300, 132)
    together = prune(weights, inputs, pattern)
    for weight, pruned in zip(weights, together, strict=True):
        (alone,) = prune([weight], inputs, pattern)
        check(pruned, alone)


@pytest.mark.parametrize("target", [{"percent": 50}, {"n": 2, "m": 4}])
def test_dead_features_are_removed(target):
    torch.manual_seed(0)
    weight, inputs = torch.randn(6, 20), correlated(60, 20)
    inputs[:, [0, 7, 19]] = 0
    (pruned,) = prune([weight], inputs, "s50" if "percent" in target else "2of4")
    check(pruned, sparsegpt(to_numpy(weight), to_numpy(inputs), **target))
    assert (pruned[:, [0, 7, 19]] == 0).all()


def test_all_features_dead():
    (pruned,) = prune([torch.randn(3, 8)], torch.zeros(5, 8), "s50")
    assert (pruned == 0).all()


def test_ties_go_to_the_lower_index():
    """Independent features of equal power: scores tie and no error has anywhere to go."""
    inputs = torch.eye(6)
    (pruned,) = prune([torch.ones(2, 6)], inputs, "s50")
    assert (pruned == 0).tolist() == [[True] * 6, [False] * 6]
    (pruned,) = prune([torch.ones(2, 6)], inputs, "1of3")
    assert (pruned == 0).tolist() == [[True, False, False] * 2] * 2


def test_update_makes_up_for_the_error():
    """The output changes less than if the same weights were only set to zero."""
    torch.manual_seed(0)
    weight = torch.randn(8, 64)
    inputs = torch.randn(256, 16) @ torch.randn(16, 64) + 0.1 * torch.randn(256, 64)
    (pruned,) = prune([weight], inputs, "s60")
    masked = np.where(pruned == 0, 0, to_numpy(weight))
    x = to_numpy(inputs).T
    error, masked_error = (
        np.linalg.norm((to_numpy(weight) - other) @ x) for other in (pruned, masked)
    )
    assert error < 0.5 * masked_error


def test_hessian_and_its_factor():
    torch.manual_seed(0)
    inputs = correlated(600, 300)  # wider than the rows that are updated at once
    hessian = Hessian(300, inputs.device)
    hessian.add(inputs[:100])
    hessian.add(inputs[100:])
    x = to_numpy(inputs)
    expected = 2 / 600 * x.T @ x
    np.testing.assert_allclose(hessian.upper().triu(), np.triu(expected), rtol=1e-4, atol=1e-4)
    factor = to_numpy(inverse_factor(hessian.upper() + torch.eye(300)))
    np.testing.assert_array_equal(factor, np.triu(factor))
    assert (np.diag(factor) > 0).all()
    inverse = np.linalg.inv(expected + np.eye(300))
    np.testing.assert_allclose(factor.T @ factor, inverse, atol=1e-4)


def test_singular_hessian_names_the_layer():
    inputs = torch.ones(4, 6)
    with pytest.raises(ValueError, match=r"^layer0: the Hessian .* damping 0"):
        prune([torch.randn(3, 6)], inputs, "s50", damping=0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"damping": -1}, "damping\n.* greater than or equal to 0"),
        ({"damping": float("nan")}, "damping\n.* a finite number"),
        ({"block_size": 0}, "block_size\n.* greater than 0"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(ValueError, match=message):
        SparseGPT(**options)
