import numpy as np
import pytest
import torch
from pruning_oracles import magnitude, to_numpy

from baselines.pruning.magnitude import Magnitude
from baselines.pruning.pattern import Pattern


def prune(weight, pattern):
    layer = torch.nn.Linear(*reversed(weight.shape)).to(weight.dtype)
    with torch.no_grad():
        layer.weight.copy_(weight)
        Magnitude().prune({"layer": layer}, Pattern.parse(pattern), None)
    return to_numpy(layer.weight)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("shape", [(5, 17), (3, 130), (1, 1)])
@pytest.mark.parametrize("percent", [1, 50, 60, 99])
def test_unstructured(percent, shape, dtype):
    torch.manual_seed(0)
    weight = torch.randn(shape).to(dtype)
    pruned = prune(weight, f"s{percent}")
    np.testing.assert_array_equal(pruned, magnitude(weight, percent))
    assert (pruned == 0).sum() == weight.numel() * percent // 100


@pytest.mark.parametrize(("n", "m"), [(2, 4), (4, 8), (1, 3)])
def test_n_of_m(n, m):
    torch.manual_seed(0)
    weight = torch.randn(5, 24)
    np.testing.assert_array_equal(prune(weight, f"{n}of{m}"), magnitude(weight, n=n, m=m))


def test_ties_go_to_the_lower_index():
    weight = torch.tensor([[1.0, -1, 1], [-1, 1, 1]])
    assert prune(weight, "s50").tolist() == [[0, 0, 0], [-1, 1, 1]]
    assert prune(torch.ones(2, 4), "2of4").tolist() == [[0, 0, 1, 1]] * 2
