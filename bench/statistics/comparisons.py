"""Every two repairs of a base, compared on the same items and seeds."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pandas as pd

from bench.cells import BASE
from bench.config.variants import method_of
from bench.records.rows import by_base, by_row, score_parts
from bench.statistics.bootstrap import (
    DECIMALS,
    Resampled,
    Spread,
    mean_over_tasks,
    resample,
    spread,
)
from bench.statistics.items import Items, Row, common_items, common_seeds
from bench.statistics.significance import ALPHA, holm, mcnemar_p, permutation_p

COLUMNS = [*BASE, "task", "repair_a", "repair_b", "seeds", "items", "mean_a", "mean_b"]
COLUMNS += ["difference", "ci_low", "ci_high", "test", "p_value", "p_holm", "significant"]

Tasks = dict[str, Items]
"""The results of one row, by part of a score."""


@dataclass(frozen=True)
class Pair:
    """Two rows on the items and seeds that both have, in one score.

    Attributes:
        mean_a: the first row's score.
        mean_b: the second's.
        difference: of the scores.
        loss: the difference of the losses where the score is a perplexity, else ``difference``.
        items: ids of the items, task by task.
        contributions: float64 (items,): what each item adds to the mean of ``loss`` over seeds.
        binary: whether it is one task of one seed, with each item right or wrong.
    """

    mean_a: float
    mean_b: float
    difference: Resampled
    loss: Resampled
    items: tuple[tuple[str, ...], ...]
    contributions: np.ndarray
    binary: bool


def pair(a: Tasks, b: Tasks, parts: list[str]) -> Pair | None:
    """Two rows in the score that is the mean over ``parts``.

    None where one of them lacks a part, or they have no items or no seeds in common.
    """
    if any(task not in rows for task in parts for rows in (a, b)):
        return None
    both = [common_items(a[task], b[task]) for task in parts]
    if None in both:
        return None
    seeds = common_seeds(items.seeds for two in both for items in two)
    if seeds == ():
        return None
    first, second = (mean_over_tasks([resample(two[i]) for two in both]).at(seeds) for i in (0, 1))
    difference = loss = first - second
    if both[0][0].is_perplexity:
        ((x, y),) = both
        loss = resample(x, as_loss=True).at(seeds) - resample(y, as_loss=True).at(seeds)
    return Pair(
        float(first.values.mean()),
        float(second.values.mean()),
        difference,
        loss,
        tuple(x.ids for x, _ in both),
        np.concatenate(
            [(x.mean_totals(seeds) - y.mean_totals(seeds)) / x.sizes.sum() for x, y in both]
        )
        / len(parts),
        binary=len(parts) == len(difference.values) == 1
        and all(items.is_binary for two in both for items in two),
    )


def comparisons_table(records: list[dict], items: dict[Row, Tasks]) -> pd.DataFrame:
    """One row a score and pair of repairs of a base at a budget; :mod:`bench.statistics` has the
    tests.

    Pairs that have nothing to be compared on have no row.

    Args:
        records: all records.
        items: their results item by item.
    """
    scores = score_parts(records)
    methods = {
        (name := record["cell"]["repair"]): method_of(name, record["config"]["resolved"])
        for record in records
    }
    rows = [
        dict(zip(BASE, base, strict=True)) | {"task": task} | row
        for base, repairs in by_base(by_row(records)).items()
        for task, parts in scores.items()
        for row in _compared(
            {name: items.get(row, {}) for name, row in repairs.items()}, parts, methods
        )
    ]
    return pd.DataFrame(rows, columns=COLUMNS).round(DECIMALS)


def family_of(a: str, b: str, methods: dict[str, str]) -> str:
    """The comparisons that a pair of repairs is corrected with.

    Args:
        a: name of a repair.
        b: of another one.
        methods: what each repair is, or is a variant of.

    Returns:
        ``methods``: of two methods; ``options``: of a variant and its method; else ``variants``.
    """
    variants = [name for name in (a, b) if methods[name] != name]
    if not variants:
        return "methods"
    return "options" if methods[a] == methods[b] and len(variants) == 1 else "variants"


def _compared(
    repairs: dict[str, Tasks], parts: list[str], methods: dict[str, str]
) -> Iterator[dict]:
    """The comparisons of every two repairs, their p-values corrected in families."""
    pairs = {
        (a, b): found
        for a, b in combinations(repairs, 2)
        if (found := pair(repairs[a], repairs[b], parts)) is not None
    }
    tests = dict(zip(pairs, paired_tests(list(pairs.values())), strict=True))
    families: dict[str, list[tuple[str, str]]] = {}
    for a, b in pairs:
        families.setdefault(family_of(a, b, methods), []).append((a, b))
    corrected = {
        two: p_holm
        for family in families.values()
        for two, p_holm in zip(family, holm([tests[two][1] for two in family]), strict=True)
    }
    for (a, b), found in pairs.items():
        certainty = spread(found.difference)
        low, high = certainty.interval()
        test, p_value = tests[a, b]
        yield {
            "repair_a": a,
            "repair_b": b,
            "seeds": certainty.seeds,
            "items": certainty.items,
            "mean_a": found.mean_a,
            "mean_b": found.mean_b,
            "difference": certainty.estimate,
            "ci_low": low,
            "ci_high": high,
            "test": test,
            "p_value": p_value,
            "p_holm": corrected[a, b],
            "significant": bool(corrected[a, b] < ALPHA),
        }


def paired_tests(pairs: list[Pair]) -> list[tuple[str, float]]:
    """The name of the test, and the p-value, of each pair."""
    # Pairs on the same items are permuted together: signs are what takes time.
    together: dict[tuple, list[Pair]] = {}
    for one in pairs:
        together.setdefault(one.items, []).append(one)
    permuted = {
        id(one): p
        for same in together.values()
        for one, p in zip(
            same, permutation_p(np.stack([one.contributions for one in same])), strict=True
        )
    }
    return [_test(one, float(permuted[id(one)])) for one in pairs]


def _test(one: Pair, permuted: float) -> tuple[str, float]:
    if one.binary:
        return "McNemar", mcnemar_p(one.contributions)
    certainty: Spread = spread(one.loss)
    if certainty.seeds == 1:
        return "permutation", permuted
    return "permutation and t", max(permuted, certainty.p_value() or 0.0)
