"""Every two repairs of a base, compared on the same items and seeds."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from itertools import combinations

import numpy as np
import pandas as pd

from bench.cells import BASE, UNREPAIRED, sender_of
from bench.config.variants import method_of
from bench.records.measures import Kind, kind_of
from bench.records.rows import by_base, by_row, score_metrics, score_parts
from bench.statistics.bootstrap import (
    DECIMALS,
    Resampled,
    Spread,
    mean_over_tasks,
    resample,
    spread,
)
from bench.statistics.items import Items, Row, common_items, common_seeds
from bench.statistics.significance import ALPHA, holm, is_negligible, mcnemar_p, permutation_p

DIFFERENCE = ["difference", "ci_low", "ci_high", "test", "p_value", "p_holm", "significant"]
DIFFERENCE += ["verdict"]
COLUMNS = [*BASE, "task", "metric", "repair_a", "repair_b", "seeds", "items", "mean_a", "mean_b"]
COLUMNS += DIFFERENCE

# What repairs are compared with, where a reference is wanted.
REFERENCE = "lora"
LESS = [*BASE, "repair", "task", "metric", "seeds", "items", "mean", "other", *DIFFERENCE]

Tasks = dict[str, Items]
"""The results of one row, by part of a score."""


class Verdict(StrEnum):
    """What is settled of a repair that is compared with another one."""

    BETTER = "better"
    WORSE = "worse"
    EQUAL = "equal"
    INCONCLUSIVE = "inconclusive"
    NO_VERDICT = "no verdict"


@dataclass(frozen=True)
class Pair:
    """Two rows on the items and seeds that both have, in one score.

    Attributes:
        mean_a: the first row's score.
        mean_b: the second's.
        difference: of the scores; of perplexities that of the losses, in nats a token.
        items: ids of the items, task by task.
        contributions: float64 (items,): what each item adds to the mean of ``difference`` over
            seeds.
        binary: whether it is one task of one seed, with each item right or wrong.
    """

    mean_a: float
    mean_b: float
    difference: Resampled
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
    shown = np.exp if both[0][0].is_perplexity else np.asarray
    return Pair(
        *(float(shown(score.values).mean()) for score in (first, second)),
        first - second,
        tuple(x.ids for x, _ in both),
        np.concatenate(
            [(x.mean_totals(seeds) - y.mean_totals(seeds)) / x.sizes.sum() for x, y in both]
        )
        / len(parts),
        binary=len(parts) == len(first.values) == len(second.values) == 1
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
    scores, metrics = score_parts(records), score_metrics(records)
    methods = {
        (name := record["cell"]["repair"]): method_of(name, record["config"]["resolved"])
        for record in records
    }
    rows = [
        dict(zip(BASE, base, strict=True)) | {"task": task, "metric": metrics[task]} | row
        for base, repairs in by_base(by_row(records)).items()
        for task, parts in scores.items()
        for row in _compared(
            {name: items.get(row, {}) for name, row in repairs.items()},
            parts,
            methods,
            kind_of(metrics[task]),
        )
    ]
    return pd.DataFrame(rows, columns=COLUMNS).round(DECIMALS)


def reference_of(repairs: Iterable[str]) -> str:
    """The reference of these repairs: ``lora``, else the first of them that is one."""
    names = [name for name in repairs if name != UNREPAIRED]
    return REFERENCE if REFERENCE in names else next(iter(names), UNREPAIRED)


def less(comparisons: pd.DataFrame, reference: str) -> pd.DataFrame:
    """Every repair less the ``reference``: the comparisons with it, turned round where needed.

    Columns as in ``comparisons.csv``, but ``repair``, ``mean`` and ``other``, the reference's
    mean, in the place of those of two repairs. ``verdict`` is of the repair.

    Args:
        comparisons: ``results/comparisons.csv``.
        reference: name of a repair.
    """
    forward = comparisons[comparisons["repair_b"] == reference]
    back = comparisons[comparisons["repair_a"] == reference]
    other = {Verdict.BETTER.value: Verdict.WORSE.value, Verdict.WORSE.value: Verdict.BETTER.value}
    turned = back.assign(
        # Not -x, which makes -0 of 0.
        difference=0 - back["difference"],
        ci_low=0 - back["ci_high"],
        ci_high=0 - back["ci_low"],
        verdict=back["verdict"].replace(other),
    )
    ours = {"repair_a": "repair", "mean_a": "mean", "mean_b": "other"}
    theirs = {"repair_b": "repair", "mean_b": "mean", "mean_a": "other"}
    parts = [
        frame.rename(columns=names)[LESS] for frame, names in ((forward, ours), (turned, theirs))
    ]
    return pd.concat(parts).sort_index(kind="stable")


def family_of(a: str, b: str, methods: dict[str, str]) -> str:
    """The comparisons that a pair of repairs is corrected with.

    Args:
        a: name of a repair.
        b: of another one.
        methods: what each repair is, or is a variant of.

    Returns:
        ``submissions``: one is of a submission, so that what others send changes no verdict on what
        was run here; ``methods``: of two methods; ``options``: of a variant and its method; else
        ``variants``.
    """
    if any(submission for submission, _ in map(sender_of, (a, b))):
        return "submissions"
    variants = [name for name in (a, b) if methods[name] != name]
    if not variants:
        return "methods"
    return "options" if methods[a] == methods[b] and len(variants) == 1 else "variants"


def _compared(
    repairs: dict[str, Tasks], parts: list[str], methods: dict[str, str], kind: Kind
) -> Iterator[dict]:
    """The comparisons of every two repairs in one score, their p-values corrected in families."""
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
            "significant": (significant := bool(corrected[a, b] < ALPHA)),
            "verdict": verdict(certainty, significant, kind).value,
        }


def verdict(difference: Spread, significant: bool, kind: Kind) -> Verdict:
    """What a difference between two repairs settles of the first of them."""
    if difference.seeds == 1:
        return Verdict.NO_VERDICT
    if is_negligible(*difference.interval(), kind.negligible):
        return Verdict.EQUAL
    if not significant:
        return Verdict.INCONCLUSIVE
    return Verdict.BETTER if kind.favours(difference.estimate) else Verdict.WORSE


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
    certainty: Spread = spread(one.difference)
    if certainty.seeds == 1:
        return "permutation", permuted
    return "permutation and t", max(permuted, certainty.p_value() or 0.0)
