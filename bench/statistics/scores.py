"""Every score with its errors, its interval, its recovery and its tie group."""

import math

import numpy as np
import pandas as pd

from bench.cells import DENSE, IDENTITY, UNREPAIRED, dense_cell
from bench.evaluation.tasks import PERPLEXITY
from bench.records.rows import (
    AVERAGE,
    LOWER_IS_BETTER,
    by_row,
    is_sparse,
    part_metric,
    score_parts,
    shown_score,
    task_settings,
)
from bench.statistics.bootstrap import DECIMALS, mean_over_tasks, resample, spread
from bench.statistics.items import Items, Row
from bench.statistics.significance import tie_groups

COLUMNS = [*IDENTITY, "task", "metric", "seeds", "items", "mean", "std", "se_seeds", "se_items"]
COLUMNS += ["ci_low", "ci_high", "recovery", "tie_group"]


def scores_table(
    records: list[dict], items: dict[Row, dict[str, Items]], comparisons: pd.DataFrame
) -> pd.DataFrame:
    """Long: one row a (model, pruner, pattern, repair) and score, accuracies in percent.

    ``mean`` and ``std`` are over the seeds that succeeded, as they were recorded; errors and
    interval are missing without results item by item. See :mod:`bench.statistics`.

    Args:
        records: all records.
        items: their results item by item.
        comparisons: of the same records.
    """
    grouped, scores = by_row(records), score_parts(records)
    settings = task_settings(records)
    rows = [
        {
            **dict(zip(IDENTITY, row, strict=True)),
            "task": task,
            "metric": "mean" if task == AVERAGE else part_metric(parts[0], settings)[1],
            **_summary(group, parts),
            **_certainty(items.get(row, {}), parts),
        }
        for row, group in grouped.items()
        for task, parts in scores.items()
    ]
    numbers = ["mean", "std", "se_seeds", "se_items", "ci_low", "ci_high", "recovery"]
    table = pd.DataFrame(rows, columns=COLUMNS).astype(dict.fromkeys(numbers, float))
    means = table.set_index([*IDENTITY, "task"])["mean"].to_dict()
    table["recovery"] = [_recovery(means, row) for row in table.itertuples()]
    sparse = {row for row, group in grouped.items() if is_sparse(group)}
    groups = _tie_groups(table, comparisons, sparse)
    table["tie_group"] = [groups.get(key) for key in _keys(table)]
    counts = dict.fromkeys(["items", "tie_group"], "Int64")
    return table.astype({"recovery": float, **counts}).round(DECIMALS)


def _summary(records: list[dict], parts: list[str]) -> dict:
    values = [shown_score(record, parts) for record in records]
    values = [value for value in values if value is not None]
    return {
        "seeds": len(values),
        "mean": np.mean(values) if values else None,
        "std": np.std(values, ddof=1) if len(values) > 1 else None,
    }


def _certainty(tasks: dict[str, Items], parts: list[str]) -> dict:
    if any(part not in tasks for part in parts):
        return {}
    first = tasks[parts[0]]
    certainty = spread(
        mean_over_tasks([resample(tasks[part]) for part in parts]), geometric=first.is_perplexity
    )
    low, high = certainty.interval()
    if low is not None and not first.is_perplexity:
        low = max(low, 0.0)
        high = high if first.metric in LOWER_IS_BETTER else min(high, 100.0)
    return {
        "items": certainty.items,
        "se_seeds": certainty.se_seeds,
        "se_items": certainty.se_items,
        "ci_low": low,
        "ci_high": high,
    }


def _recovery(means: dict[tuple, float], row) -> float | None:
    dense = dense_cell(row.model)
    whole = means.get((row.model, DENSE, dense.pattern, dense.repair, row.task), math.nan)
    base = means.get((row.model, row.pruner, row.pattern, UNREPAIRED, row.task), math.nan)
    score = row.mean
    if row.metric == PERPLEXITY:
        whole, base, score = math.log(whole), math.log(base), math.log(score)
    if row.metric in LOWER_IS_BETTER:
        whole, base, score = -whole, -base, -score
    return (score - base) / (whole - base) if row.pruner != DENSE and whole > base else None


def _keys(table: pd.DataFrame) -> list[tuple]:
    return list(zip(*(table[key] for key in (*IDENTITY, "task")), strict=True))


def _tie_groups(
    table: pd.DataFrame, comparisons: pd.DataFrame, sparse: set[tuple]
) -> dict[tuple, int]:
    """The tie group of each (model, pruner, pattern, repair, task) that has one."""
    base = ["model", "pruner", "pattern", "task"]
    compared: dict[tuple, dict[frozenset, bool]] = {}
    for row in comparisons.itertuples():
        family = compared.setdefault(tuple(getattr(row, key) for key in base), {})
        family[frozenset((row.repair_a, row.repair_b))] = bool(row.significant)
    # What was not measured item by item ties with nothing.
    ranked = table[(table["pruner"] != DENSE) & table["items"].notna()]
    groups = {}
    for key, family in ranked.groupby(base, sort=False):
        pairs = compared.get(key, {})
        best_first = family.sort_values(
            "mean", ascending=family["metric"].iloc[0] in LOWER_IS_BETTER, kind="stable"
        )["repair"]
        names = [name for name in best_first if (*key[:3], name) in sparse]
        if len(names) > 1:
            names = [a for a in names if any(frozenset((a, b)) in pairs for b in names)]
        found = tie_groups(names, lambda a, b, pairs=pairs: pairs.get(frozenset((a, b))))
        groups |= {(*key[:3], name, key[3]): number for name, number in found.items()}
    return groups
