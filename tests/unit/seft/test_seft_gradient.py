"""The gradient at some entries, against the whole of it."""

import pytest
import torch

from seft.gradient import sampled_gradient, sampling_pays


@pytest.mark.parametrize("index", [torch.int32, torch.int64])
@pytest.mark.parametrize("positions", [[], [0], [5, 6, 62], [7 * 9 - 1], range(63)])
def test_it_is_that_of_the_whole_weight(positions, index):
    generator = torch.Generator().manual_seed(0)
    # Neither is contiguous.
    grad = torch.randn((7, 5), generator=generator, dtype=torch.float64).t()
    x = torch.randn((5, 18), generator=generator, dtype=torch.float64)[:, ::2]
    weight = torch.zeros((7, 9), dtype=torch.float64, requires_grad=True)
    torch.nn.functional.linear(x, weight).backward(grad)
    found = sampled_gradient(grad, x, torch.tensor(list(positions), dtype=index))
    torch.testing.assert_close(found, weight.grad.view(-1)[list(positions)])


def test_it_is_for_few_entries_in_the_precisions_there_are():
    grad, x = torch.zeros(5, 100), torch.zeros(5, 120)
    assert sampling_pays(grad, x, 999)
    assert not sampling_pays(grad, x, 1000)
    assert not sampling_pays(grad.bfloat16(), x.bfloat16(), 999)
