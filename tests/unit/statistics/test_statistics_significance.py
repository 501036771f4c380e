"""Paired tests against scipy and by hand."""

import numpy as np
import pytest
from scipy import stats
from statistics_oracles import crossed

from bench.statistics.significance import (
    holm,
    is_negligible,
    mcnemar_p,
    permutation_p,
    tie_groups,
)


def scipys(differences, **options):
    return stats.permutation_test(
        (differences,), np.sum, permutation_type="samples", vectorized=True, **options
    ).pvalue


def test_of_few_items_the_permutation_test_is_exact_and_scipys():
    differences = np.random.default_rng(0).normal(0.4, 1, (5, 10))
    ours = permutation_p(differences)
    for row, p in zip(differences, ours, strict=True):
        assert p == pytest.approx(scipys(row, n_resamples=np.inf), abs=1e-12)


def test_of_many_items_the_permutation_test_is_near_scipys():
    differences = np.random.default_rng(1).normal(0.2, 1, (3, 60))
    for row, p in zip(differences, permutation_p(differences), strict=True):
        assert p == pytest.approx(scipys(row, n_resamples=20_000, rng=0), abs=0.015)


def test_items_that_do_not_differ_do_not_matter():
    differences = np.random.default_rng(2).normal(0.5, 1, (1, 8))
    padded = np.hstack([differences, np.zeros((1, 6))])
    assert permutation_p(padded) == pytest.approx(permutation_p(differences))


def test_identical_methods_have_a_p_value_of_one():
    assert permutation_p(np.zeros((2, 50))).tolist() == [1, 1]
    assert mcnemar_p(np.zeros(50)) == 1


def test_one_item_shows_nothing():
    assert permutation_p(np.array([[3.0]])) == [1]


def test_mcnemar_by_hand():
    # Two of ten discordant items: 2 (1 + 10 + 45) / 2^10.
    differences = np.array([1] * 8 + [-1] * 2 + [0] * 40)
    assert mcnemar_p(differences) == pytest.approx(112 / 1024)


def test_mcnemar_is_the_permutation_test_of_right_and_wrong():
    differences = np.random.default_rng(3).choice([-1, 0, 1], (6, 14), p=[0.2, 0.4, 0.4])
    ours = permutation_p(differences.astype(float))
    assert [mcnemar_p(row) for row in differences] == pytest.approx(ours)


def test_the_permutation_test_rejects_the_truth_as_rarely_as_it_says():
    rng = np.random.default_rng(4)
    differences = crossed(rng, 400, 30, of_seeds=0, of_items=0)
    assert 0.02 <= (permutation_p(differences) < 0.05).mean() <= 0.08


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == pytest.approx([1, 1])
    assert holm([]).tolist() == []


def test_holm_leaves_out_what_is_missing():
    corrected = holm([0.01, np.nan, 0.03])
    assert corrected[[0, 2]] == pytest.approx([0.02, 0.03])
    assert np.isnan(corrected[1])


def test_what_is_as_large_as_the_margin_is_not_more_than_it():
    assert is_negligible(-1.0, 1.0, 1.0)
    assert not is_negligible(-1.01, 0.0, 1.0)
    assert not is_negligible(0.0, 1.01, 1.0)
    assert not is_negligible(None, None, 1.0)


def test_tie_groups_open_where_the_best_of_a_group_beats_another():
    beats = {("a", "c"), ("a", "d"), ("a", "e"), ("c", "e")}
    groups = tie_groups("abcde", lambda x, y: (x, y) in beats)
    assert groups == {"a": 1, "b": 1, "c": 2, "d": 2, "e": 3}
    # A worse one may be too unsure to differ from the best, where a better one does.
    assert tie_groups("abc", lambda x, y: (x, y) == ("a", "b")) == {"a": 1, "c": 1, "b": 2}
    assert tie_groups([], lambda x, y: True) == {}


def test_a_better_mean_does_not_stand_against_a_comparison():
    assert tie_groups("abc", lambda x, y: (x, y) == ("b", "a")) == {"b": 1, "c": 1, "a": 2}
    circle = {("a", "b"), ("b", "c"), ("c", "a")}
    assert tie_groups("abc", lambda x, y: (x, y) in circle) == {"a": 1, "c": 1, "b": 2}


def test_what_was_not_compared_with_the_best_of_a_group_is_in_none():
    assert tie_groups("abc", lambda *two: {("a", "c"): False}.get(two)) == {"a": 1, "c": 1}
