"""Items with known distributions."""

import numpy as np

from bench.statistics.items import Items


def make_items(totals, *, task="t", metric="acc", sizes=None, seeds=..., ids=None) -> Items:
    """Items of these totals, (seeds, items)."""
    totals = np.atleast_2d(np.asarray(totals, dtype=float))
    count, number = totals.shape
    return Items(
        task,
        metric,
        tuple(range(count)) if seeds is ... else seeds,
        tuple(f"{task}-{i}" for i in range(number)) if ids is None else tuple(ids),
        totals,
        np.ones(number) if sizes is None else np.asarray(sizes, dtype=float),
    )


def crossed(rng, seeds, items, *, of_seeds, of_items, of_both=1.0, mean=0.0):
    """Totals with an effect of each seed, of each item, and of each seed on each item."""
    return (
        mean
        + rng.normal(0, of_seeds, (seeds, 1))
        + rng.normal(0, of_items, (1, items))
        + rng.normal(0, of_both, (seeds, items))
    )
