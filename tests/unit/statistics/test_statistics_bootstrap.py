"""Standard errors and intervals, against known distributions and scipy."""

import math

import numpy as np
import pytest
from scipy import stats
from statistics_oracles import crossed, make_items

from bench.statistics.bootstrap import (
    RESAMPLES,
    item_weights,
    mean_over_rows,
    mean_over_tasks,
    resample,
    spread,
)


def uncached(items, **options):
    return resample.__wrapped__(items, **options)


def test_the_error_from_items_is_the_classical_one():
    totals = np.random.default_rng(0).normal(50, 20, 150)
    certainty = spread(resample(make_items(totals)))
    assert certainty.estimate == pytest.approx(totals.mean())
    assert certainty.se_items == pytest.approx(stats.sem(totals), rel=0.03)
    assert certainty.se_seeds is None


def test_the_error_from_seeds_is_the_classical_one():
    totals = crossed(np.random.default_rng(1), 5, 80, of_seeds=3, of_items=5)
    certainty = spread(resample(make_items(totals)))
    assert certainty.se_seeds == pytest.approx(stats.sem(totals.mean(axis=1)))
    assert certainty.se == pytest.approx(math.hypot(certainty.se_seeds, certainty.se_items))


def test_of_many_items_the_interval_is_scipys_percentile_interval():
    totals = np.random.default_rng(2).exponential(10, 400)
    low, high = spread(resample(make_items(totals))).interval()
    theirs = stats.bootstrap((totals,), np.mean, method="percentile", rng=0).confidence_interval
    width = theirs.high - theirs.low
    assert low == pytest.approx(theirs.low, abs=0.03 * width)
    assert high == pytest.approx(theirs.high, abs=0.03 * width)


def test_of_few_normal_items_the_interval_is_students():
    totals = np.random.default_rng(3).normal(0, 1, 12)
    low, high = spread(resample(make_items(totals))).interval()
    theirs = stats.ttest_1samp(totals, 0).confidence_interval()
    assert high - low == pytest.approx(theirs.high - theirs.low, rel=0.04)


@pytest.mark.parametrize(
    ("seeds", "items", "of_seeds", "of_items"),
    [(1, 40, 0, 3), (3, 40, 3, 1), (3, 40, 0.1, 3), (3, 40, 0.5, 3), (5, 12, 1, 3), (10, 60, 1, 2)],
)
def test_the_interval_covers_the_truth_as_often_as_it_says(seeds, items, of_seeds, of_items):
    rng = np.random.default_rng(4)
    runs, covered = 250, 0
    for _ in range(runs):
        totals = crossed(rng, seeds, items, of_seeds=of_seeds, of_items=of_items, mean=7)
        low, high = spread(uncached(make_items(totals))).interval()
        covered += low <= 7 <= high
    # Four standard errors of a share of 250 below, and not so wide as to say nothing.
    assert 0.90 <= covered / runs <= 0.995


def test_the_interval_of_a_perplexity_covers_the_truth():
    rng = np.random.default_rng(5)
    sizes = np.array([300] * 14)
    runs, covered = 250, 0
    for _ in range(runs):
        totals = sizes * rng.normal(3, 0.3, (1, 14))
        items = make_items(totals, metric="perplexity", sizes=sizes)
        low, high = spread(uncached(items).exp(), geometric=True).interval()
        covered += low <= math.exp(3) <= high
    assert 0.90 <= covered / runs <= 0.995


def test_the_interval_of_a_perplexity_is_above_zero_however_far_seeds_lie_apart():
    for one, other in ((10, 10.01), (10, 30), (10, 1000)):
        losses = 100 * np.log([[one] * 20, [other] * 20])
        items = make_items(losses, metric="perplexity", sizes=[100] * 20)
        certainty = spread(resample(items).exp(), geometric=True)
        low, high = certainty.interval()
        assert 0 < low < certainty.estimate < high
        if other == 10.01:
            # There a log scale is a linear one.
            on_a_line = spread(resample(items).exp()).interval()
            assert high - low == pytest.approx(on_a_line[1] - on_a_line[0], rel=0.01)


def test_an_error_that_leaves_the_range_of_numbers_is_missing():
    # exp(400), whose square is no float64.
    losses = 100 * np.random.default_rng(12).normal(400, 0.1, (2, 20))
    items = make_items(losses, metric="perplexity", sizes=[100] * 20)
    certainty = spread(resample(items).exp(), geometric=True)
    assert certainty.estimate == pytest.approx(np.exp(losses.mean(axis=1) / 100).mean())
    assert certainty.se is None
    assert certainty.interval() == (None, None)


def test_a_perplexity_is_of_all_tokens_and_not_the_mean_of_documents():
    items = make_items([[30.0, 600.0]], metric="perplexity", sizes=[10, 300])
    assert resample(items).values == pytest.approx([630 / 310])
    assert resample(items).exp().values == pytest.approx([math.exp(630 / 310)])


def test_the_error_of_a_perplexity_is_that_of_its_evaluation():
    from bench.evaluation.harness import perplexity

    rng = np.random.default_rng(6)
    sizes = rng.integers(200, 400, 30)
    losses = sizes * rng.normal(3, 0.2, 30)
    value, error = perplexity(list(-losses), list(sizes))
    certainty = spread(resample(make_items(losses, metric="perplexity", sizes=sizes)).exp())
    assert certainty.estimate == pytest.approx(value)
    assert certainty.se_items == pytest.approx(error, rel=0.05)


def test_one_item_has_a_score_and_no_interval():
    certainty = spread(resample(make_items([[100.0], [0.0]])))
    assert certainty.estimate == 50
    assert certainty.se_items is None
    assert certainty.se is None
    assert certainty.interval() == (None, None)
    assert certainty.p_value() is None


def test_one_seed_has_the_interval_of_its_items():
    totals = np.random.default_rng(7).normal(50, 20, (1, 100))
    certainty = spread(resample(make_items(totals)))
    assert certainty.se_seeds is None
    assert certainty.se == certainty.se_items
    assert certainty.interval()[0] < certainty.estimate < certainty.interval()[1]


def test_what_never_varies_is_a_point():
    certainty = spread(resample(make_items(np.full((3, 20), 100.0))))
    assert certainty.interval() == (100, 100)


@pytest.mark.parametrize("seeds", [1, 2, 3])
def test_a_mean_of_what_never_varies_is_a_point_whatever_its_digits(seeds):
    tasks = [make_items(np.full((seeds, 8), score), task=f"{score}") for score in (100, 0, 99)]
    certainty = spread(mean_over_tasks([resample(task) for task in tasks]))
    assert certainty.estimate == pytest.approx(199 / 3)
    assert certainty.interval() == pytest.approx((199 / 3, 199 / 3))


def test_a_difference_of_equals_is_nothing():
    items = make_items(np.random.default_rng(8).normal(size=(3, 20)))
    certainty = spread(resample(items) - resample(items))
    assert certainty.estimate == 0
    assert certainty.interval() == (0, 0)
    assert certainty.p_value() == 1


def test_a_difference_is_paired():
    rng = np.random.default_rng(9)
    hard = rng.normal(50, 30, (1, 100))
    a, b = make_items(hard + rng.normal(0, 1, (1, 100))), make_items(hard)
    difference = spread(resample(a) - resample(b))
    assert difference.se_items == pytest.approx(stats.sem((a.totals - b.totals)[0]), rel=0.03)
    assert difference.se_items < spread(resample(a)).se_items / 10


def test_where_only_seeds_vary_the_test_is_scipys_paired_t_test():
    rng = np.random.default_rng(10)
    a, b = (np.repeat(rng.normal(50, 2, (5, 1)), 30, axis=1) for _ in range(2))
    ours = spread(resample(make_items(a)) - resample(make_items(b))).p_value()
    # Nothing differs between items but in the last digits of a float32.
    assert ours == pytest.approx(stats.ttest_rel(a[:, 0], b[:, 0]).pvalue, rel=1e-3)


def test_an_unrepaired_model_goes_with_any_seeds_and_brings_no_error_of_its_own():
    rng = np.random.default_rng(11)
    trained = make_items(rng.normal(60, 5, (2, 50)), seeds=(4, 7))
    base = make_items(rng.normal(50, 5, (1, 50)), seeds=None)
    difference = resample(trained) - resample(base)
    assert difference.seeds == (4, 7)
    np.testing.assert_allclose(
        difference.values, trained.totals.mean(axis=1) - base.totals.mean(), rtol=1e-6
    )
    assert spread(resample(base)).se_seeds is None


def test_the_seeds_of_a_difference_are_those_that_both_have():
    a = make_items(np.ones((3, 10)), seeds=(0, 1, 2))
    b = make_items(np.zeros((2, 10)), seeds=(1, 5))
    assert (resample(a) - resample(b)).seeds == (1,)


def test_a_mean_over_tasks_weighs_tasks_and_not_items():
    few = resample(make_items(np.full((1, 10), 100.0), task="a"))
    many = resample(make_items(np.zeros((1, 90)), task="b"))
    score = mean_over_tasks([few, many])
    assert score.values == pytest.approx([50])
    assert score.items == 100
    assert mean_over_rows([few, few]).items == 10


def test_a_mean_over_tasks_with_few_items_in_one_is_tested_as_welch_does():
    """Of two tasks, twice the mean of a and -b is the difference of their means."""
    rng = np.random.default_rng(20)
    a, b = rng.normal(0, 3, 5), rng.normal(0, 1, 400)
    parts = [make_items([a], task="a"), make_items([-b], task="b")]
    score = mean_over_tasks([resample(part) for part in parts])
    welch = stats.ttest_ind(a, b, equal_var=False)
    assert spread(score).freedom == pytest.approx(welch.df, rel=0.05)
    low, high = welch.confidence_interval()
    assert np.ptp(spread(score).interval()) == pytest.approx((high - low) / 2, rel=0.05)
    # So it is of the same items in several rows, and of what another row is better by.
    zeros = [make_items(0 * part.totals, task=part.task) for part in parts]
    nothing = mean_over_tasks([resample(part) for part in zeros])
    for same in (mean_over_rows([score, score]), score - nothing, score.at(score.seeds)):
        assert spread(same).freedom == pytest.approx(spread(score).freedom)


def test_tasks_are_resampled_independently_and_equal_items_alike():
    assert (item_weights(30, "a") == item_weights.__wrapped__(30, "a")).all()
    assert (item_weights(30, "a") != item_weights(30, "b")).any()
    weights = item_weights(30, "a")
    assert weights.shape == (RESAMPLES, 30)
    assert (weights.sum(axis=1) == 30).all()
