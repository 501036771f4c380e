"""The entries whose gradient a window keeps, against sorting them all."""

import pytest
import torch

from seft.candidates import candidates
from seft.selection import about, highest
from seft.topology import Topology, evolve
from seft.window import Window

COUNT = 12


def pruned(shape=(9, 14)):
    """A weight and a gradient without equal scores, and some active and removed positions."""
    generator = torch.Generator().manual_seed(0)
    weight, gradient = (torch.randn(shape, generator=generator) for _ in range(2))
    weight[torch.rand(shape, generator=generator) < 0.5] = 0
    active, removed = torch.randperm(weight.numel(), generator=generator)[:15].split([10, 5])
    weight.view(-1)[removed] = 0
    positions = (values.sort().values.int() for values in (active, removed))
    active, removed = positions
    return weight, gradient.view(-1), Topology(active, weight[:0], removed, weight[:0])


@pytest.mark.parametrize("mask", ["evolve", "fixed", "free"])
@pytest.mark.parametrize("random", [False, True])
def test_candidates_are_what_an_evolution_may_need(mask, random):
    weight, gradient, topology = pruned()
    live, every = weight.view(-1).tolist(), range(weight.numel())
    preference = torch.rand(weight.numel()) if random else None
    score = (gradient.abs() if preference is None else preference).tolist()
    anywhere = [j for j in every if mask != "fixed" or live[j] != 0]
    grow = sorted(anywhere, key=lambda j: -score[j])[:COUNT]
    expected = {*topology.indices.tolist(), *topology.removed.tolist(), *grow}
    if mask == "evolve":
        outside = sum(live[j] == 0 for j in grow)
        assert outside > 0
        inside = [j for j in every if live[j] != 0]
        inside.sort(key=lambda j: abs(live[j] * gradient[j]))
        expected |= set(inside[:outside])
    found = candidates(gradient, weight, topology, COUNT, mask, preference)
    assert found.tolist() == sorted(expected)
    assert found.dtype == torch.int32


@pytest.mark.parametrize("furthest", [70_000, 65_535])
@pytest.mark.parametrize("dtype", [torch.int32, torch.int64])
def test_positions_are_held_in_two_bytes_where_their_steps_allow_it(furthest, dtype):
    window = Window(opened=0)
    window.positions = positions = torch.tensor([0, 3, 4, 4 + furthest], dtype=dtype)
    assert window.positions.tolist() == positions.tolist()
    assert window.positions.dtype == dtype
    assert (window.steps.element_size() == 2) == (furthest == 65_535)


@pytest.mark.parametrize("silent", [0.0, torch.nan, torch.inf])
def test_candidates_are_chosen_from_the_first_gradient_that_says_something(silent):
    gradient = torch.arange(12.0).view(3, 4)
    window = Window(opened=0)
    window.choose = lambda flat: flat.topk(2).indices.sort().values
    window.add(torch.zeros(3, 4).index_fill(1, torch.tensor([1]), silent))
    saved = window.state_dict()
    assert window.positions is None
    loaded = Window.from_state_dict(saved)
    loaded.choose = window.choose
    for either in (window, loaded):
        either.add(gradient)
        either.add(-2 * gradient)
        assert either.count == 3
        assert either.positions.tolist() == [10, 11]
        assert either.total.tolist() == [-10, -11]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_of_many_scores_those_above_a_quantile_are_about_as_many_as_asked(dtype):
    scores = torch.randn(200_000, generator=torch.Generator().manual_seed(0)).to(dtype)
    eligible = torch.rand(200_000, generator=torch.Generator().manual_seed(1)) < 0.5
    flags = about(lambda span: scores[span].float(), 5000, eligible)
    assert int(flags.sum()) == pytest.approx(5000, rel=0.25)
    assert scores[flags].min() > scores[eligible & ~flags].max()
    assert not flags[~eligible].any()


@pytest.mark.parametrize("sampled", [-1.0, 1.0])
def test_of_scores_that_a_sample_says_little_about_the_best_are_flagged(sampled):
    scores = torch.rand(200_000, generator=torch.Generator().manual_seed(0))
    scores[::61] *= sampled * 1000
    flags = about(scores.__getitem__, 5000, torch.ones_like(scores, dtype=torch.bool))
    assert flags.nonzero().view(-1).tolist() == highest(scores, 5000).tolist()


def of_few_columns(rows: int, columns: int):
    """A pruned weight, and gradients that are large in a few columns, as a model's are."""
    generator = torch.Generator().manual_seed(0)
    weight, gradient = (torch.randn(rows, columns, generator=generator) for _ in range(2))
    weight[torch.rand(rows, columns, generator=generator) < 0.6] = 0
    gradient[:, ::61] *= 20
    none = torch.empty(0, dtype=torch.int32)
    return weight, gradient.view(-1), Topology(none, weight[:0, 0], none, weight[:0, 0])


@pytest.mark.parametrize("mask", ["evolve", "fixed", "free"])
@pytest.mark.parametrize("shape", [(128, 244), (122, 976), (61, 610)])
def test_widths_that_a_sample_could_run_along_have_candidates_enough(shape, mask):
    weight, gradient, topology = of_few_columns(*shape)
    k = 400
    kept = int(weight.count_nonzero())
    found = candidates(gradient, weight, topology, 3 * k, mask)
    if mask == "free":
        assert len(found) == pytest.approx(3 * k, rel=0.2)
    among = gradient[found.long()]
    evolution = evolve(weight, topology, torch.zeros(k), among, 0, mask, positions=found.long())
    active = evolution.topology.indices
    assert len(active.unique()) == k
    score = gradient.abs()
    if mask == "fixed":
        score[weight.view(-1) == 0] = 0
    assert active.tolist() == score.topk(k).indices.sort().values.tolist()
    inside = weight.view(-1).bool().index_fill(0, active.long(), True)
    assert mask == "free" or int(inside.sum()) == kept


@pytest.mark.parametrize("count", [0, 100, 5000, 200_001])
@pytest.mark.parametrize("levels", [1, 3])
def test_of_many_equal_scores_the_best_are_flagged(levels, count):
    scores = torch.arange(200_000).remainder(levels).float()
    flags = about(scores.__getitem__, count, torch.ones_like(scores, dtype=torch.bool))
    assert flags.nonzero().view(-1).tolist() == highest(scores, count).tolist()


def test_what_is_no_number_is_never_flagged():
    scores = torch.randn(200_000, generator=torch.Generator().manual_seed(0))
    scores[::3] = torch.nan
    flags = about(scores.__getitem__, 5000, torch.ones_like(scores, dtype=torch.bool))
    assert int(flags.sum()) == pytest.approx(5000, rel=0.25)
    assert not scores[flags].isnan().any()
