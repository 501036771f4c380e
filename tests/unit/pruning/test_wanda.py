import numpy as np
import pytest
import torch
from pruning_oracles import to_numpy, wanda

from baselines.pruning.pattern import Pattern
from baselines.pruning.wanda import Wanda


def prune(weight, inputs, pattern):
    """Prune one layer whose inputs arrive in two parts."""
    layer = torch.nn.Linear(*reversed(weight.shape)).to(weight.dtype)
    pruner = Wanda()
    with torch.no_grad():
        layer.weight.copy_(weight)
        statistic = pruner.statistic(weight.shape[1], weight.device)
        for part in inputs.tensor_split([len(inputs) // 3]):
            statistic.add(part)
        pruner.prune({"layer": layer}, Pattern.parse(pattern), statistic)
    return to_numpy(layer.weight)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("shape", [(5, 17), (4, 130), (3, 5)])
@pytest.mark.parametrize("percent", [10, 50, 60, 95])
def test_unstructured(percent, shape, dtype):
    torch.manual_seed(0)
    weight = torch.randn(shape).to(dtype)
    inputs = (torch.randn(20, shape[1]) * torch.rand(shape[1])).to(dtype)
    pruned = prune(weight, inputs, f"s{percent}")
    expected = wanda(to_numpy(weight), to_numpy(inputs), percent)
    np.testing.assert_array_equal(pruned, expected)
    assert ((pruned == 0).sum(1) == shape[1] * percent // 100).all()


@pytest.mark.parametrize(("n", "m"), [(2, 4), (4, 8), (1, 3)])
def test_n_of_m(n, m):
    torch.manual_seed(0)
    weight, inputs = torch.randn(5, 24), torch.randn(20, 24)
    expected = wanda(to_numpy(weight), to_numpy(inputs), n=n, m=m)
    np.testing.assert_array_equal(prune(weight, inputs, f"{n}of{m}"), expected)


def test_the_norm_decides():
    """Norms 5, 1 and 0: the largest weight goes where the feature is dead."""
    inputs = torch.tensor([[3.0, 1, 0], [4, 0, 0]])
    assert prune(torch.tensor([[1.0, 4, 9]]), inputs, "s34").tolist() == [[1, 4, 0]]
    assert prune(torch.tensor([[1.0, 4, 9]]), inputs, "s67").tolist() == [[1, 0, 0]]


def test_ties_go_to_the_lower_index():
    inputs = torch.ones(3, 6)
    inputs[:, 5] = 0
    weight = torch.tensor([[1.0, -1, 1, -1, 1, 1]])
    assert prune(weight, inputs, "s50").tolist() == [[0, 0, 1, -1, 1, 0]]
    assert prune(weight, inputs, "1of3").tolist() == [[0, -1, 1, -1, 1, 0]]


def test_activations_that_overflow_half_precision_when_squared():
    weight = torch.tensor([[1.0, 1, 1]], dtype=torch.float16)
    inputs = torch.tensor([[600.0, 500, 700]], dtype=torch.float16)
    assert prune(weight, inputs, "s34").tolist() == [[1, 0, 1]]
