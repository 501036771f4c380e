import numpy as np
import pytest
import torch

from baselines.pruning.masks import lowest, lowest_by
from baselines.pruning.pattern import Pattern


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("levels", [2, 5, 10**6])
def test_lowest_is_a_stable_sort_cut_off(levels, dtype):
    """Few levels: nearly all scores tie."""
    torch.manual_seed(0)
    for width in (1, 2, 17, 130):
        scores = torch.randint(levels, (6, width)).to(dtype)
        order = np.argsort(scores.double().numpy(), axis=1, kind="stable")
        for count in {0, 1, width // 2, width - 1, width}:
            expected = np.zeros(scores.shape, dtype=bool)
            np.put_along_axis(expected, order[:, :count], True, axis=1)
            np.testing.assert_array_equal(lowest(scores, count).numpy(), expected)


def test_lowest_by_groups():
    scores = torch.tensor([[3.0, 1, 2, 0, 5, 5, 5, 5], [0, 0, 0, 1, 9, 8, 7, 6]])
    expected = [[0, 1, 0, 1, 1, 1, 0, 0], [1, 1, 0, 0, 0, 0, 1, 1]]
    mask = lowest_by(Pattern.parse("2of4"), scores)
    assert mask.int().tolist() == expected
