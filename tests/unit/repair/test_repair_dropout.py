"""Dropout from 16 random bits an entry."""

import pytest
import torch

from baselines.repair.dropout import Dropout, dropout


@pytest.mark.parametrize("p", [0.05, 0.5, 0.9])
def test_drops_the_share_and_scales_the_rest(p):
    torch.manual_seed(0)
    x = torch.full((500, 401), 2.0)
    y = dropout(x, p, training=True)
    dropped = (y == 0).double()
    # Five standard deviations of a mean of independent numbers; by column, four of which share a
    # random word, as well.
    bound = 5 * (p * (1 - p)) ** 0.5
    assert abs(dropped.mean() - p) < bound / x.numel() ** 0.5
    assert (abs(dropped.mean(0) - p) < bound / 500**0.5).all()
    torch.testing.assert_close(y[y != 0], torch.full_like(y[y != 0], 2 / (1 - p)))


def test_entries_of_one_random_word_are_independent():
    torch.manual_seed(1)
    dropped = (dropout(torch.ones(200_000, 4), 0.5, training=True) == 0).double()
    correlation = torch.corrcoef(dropped.T) - torch.eye(4)
    assert correlation.abs().max() < 5 / 200_000**0.5


def test_gradient_passes_what_was_kept():
    torch.manual_seed(2)
    x = torch.randn(7, 3, requires_grad=True)
    y = dropout(x, 0.5, training=True)
    y.sum().backward()
    assert torch.equal(x.grad, torch.where(y == 0, 0.0, 2.0))


def test_the_seed_decides():
    results = []
    for _ in range(2):
        torch.manual_seed(3)
        results.append(dropout(torch.ones(99), 0.3, training=True))
    assert torch.equal(*results)


def test_does_nothing_outside_training_or_without_a_share():
    x = torch.randn(5)
    assert torch.equal(Dropout(0.5).eval()(x), x)
    assert torch.equal(Dropout(0.0).train()(x), x)
