"""Paired tests, correction for several of them, and tie groups."""

from collections.abc import Callable, Sequence

import numpy as np
from scipy import stats

from bench.statistics.bootstrap import CHUNK, RESAMPLES, generator

ALPHA = 0.05
# Two results that differ by rounding alone are as extreme as each other (scipy's bound).
ROUNDING = 1e-14
# Up to so many items, all assignments of signs are tried.
FEW_ITEMS = 16


def mcnemar_p(differences: np.ndarray) -> float:
    """Two-sided p-value of McNemar's exact test.

    Args:
        differences: (items,): above 0 where only the first model was right, below 0 where only the
            second was, 0 where both or none were.
    """
    wins, losses = int((differences > 0).sum()), int((differences < 0).sum())
    if wins + losses == 0:
        return 1.0
    return float(stats.binomtest(wins, wins + losses, 0.5).pvalue)


def permutation_p(differences: np.ndarray) -> np.ndarray:
    """Two-sided p-values of paired permutation tests on sums.

    Under the null hypothesis each item's difference could as well have had the other sign. Of few
    items all 2^items assignments of signs are tried, of more 10,000 at random, and the observed one
    is counted among them.

    Args:
        differences: (pairs, items): paired differences of several pairs on the same items.

    Returns:
        float64 (pairs,).
    """
    pairs, items = differences.shape
    observed = np.abs(differences.sum(axis=1))
    bound = observed - np.maximum(ROUNDING, observed * ROUNDING)
    if items <= FEW_ITEMS:
        numbers = np.arange(2**items)[:, None]
        signs = 1.0 - 2.0 * (numbers >> np.arange(items) & 1)
        return (np.abs(signs @ differences.T) >= bound).mean(axis=0)
    rng, extreme = generator("signs", items), np.ones(pairs)
    for _ in range(RESAMPLES // CHUNK):
        signs = 1.0 - 2.0 * rng.integers(0, 2, size=(CHUNK, items), dtype=np.int8)
        extreme += (np.abs(signs @ differences.T) >= bound).sum(axis=0)
    return extreme / (RESAMPLES + 1)


def holm(p_values: Sequence[float]) -> np.ndarray:
    """P-values corrected for the size of their family (Holm 1979); missing ones stay missing."""
    p_values = np.asarray(p_values, dtype=float)
    corrected = np.full(len(p_values), np.nan)
    order = np.argsort(p_values)[: np.isfinite(p_values).sum()]
    factors = np.arange(len(order), 0, -1)
    corrected[order] = np.minimum(1, np.maximum.accumulate(factors * p_values[order]))
    return corrected


def is_negligible(low: float | None, high: float | None, margin: float) -> bool:
    """Whether no difference that an interval holds is more than ``margin``, either way.

    These are two one-sided tests (Schuirmann 1987), each at half of what the interval leaves out.
    """
    return low is not None and -margin <= low and high <= margin


def tie_groups(ranked: Sequence[str], beats: Callable[[str, str], bool | None]) -> dict[str, int]:
    """The tie group of each repair, from 1: the best one and all that it does not beat, then the
    best of the rest and all of these that that one does not beat, and so on.

    The best one is the first that no other one of the rest beats: means that are over other seeds
    than a comparison do not stand against it. What was not compared with it has no group.

    Args:
        ranked: names, best mean first.
        beats: whether the first of two is significantly better; None where they were not compared.
    """
    groups: dict[str, int] = {}
    rest, number = list(ranked), 0
    while rest:
        unbeaten = (one for one in rest if not any(beats(other, one) for other in rest))
        # In a circle, which is possible over unequal seeds, the means decide.
        leader = next(unbeaten, rest[0])
        beaten = {name: beats(leader, name) for name in rest if name != leader}
        number += 1
        groups |= dict.fromkeys(
            [leader, *(n for n, lost in beaten.items() if lost is False)], number
        )
        rest = [name for name, lost in beaten.items() if lost]
    return groups
