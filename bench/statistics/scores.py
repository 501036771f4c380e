"""Every score with its errors, its interval, its recovery and its tie group."""

import math
from itertools import product

import numpy as np
import pandas as pd

from bench.cells import BASE, DENSE, IDENTITY, NO_BUDGET, UNREPAIRED, dense_cell
from bench.evaluation.tasks import PERPLEXITY
from bench.records.rows import (
    AVERAGE,
    LOWER_IS_BETTER,
    budget_tokens,
    by_base,
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

COLUMNS = [*IDENTITY, "tokens", "task", "metric", "seeds", "items", "mean", "std"]
COLUMNS += ["se_seeds", "se_items", "ci_low", "ci_high", "recovery", "tie_group"]


def scores_table(
    records: list[dict], items: dict[Row, dict[str, Items]], comparisons: pd.DataFrame
) -> pd.DataFrame:
    """Long: one row a (model, pruner, pattern, budget, repair) and score, accuracies in percent.

    ``tokens`` are those of the budget, 0 where nothing is trained. ``mean`` and ``std`` are over
    the seeds that succeeded, as they were recorded; errors and interval are missing without results
    item by item. See :mod:`bench.statistics`.

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
            "tokens": budget_tokens(group[0]),
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
    whole = means.get((*dense_cell(row.model).row, row.task), math.nan)
    base = (row.model, row.pruner, row.pattern, NO_BUDGET, UNREPAIRED, row.task)
    base = means.get(base, math.nan)
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
    """The tie group of each row and task that has one.

    What is not trained has one at each budget of its base, and is given the last of them.
    """
    compared: dict[tuple, dict[frozenset, bool]] = {}
    for row in comparisons.itertuples():
        family = compared.setdefault(tuple(getattr(row, key) for key in (*BASE, "task")), {})
        family[frozenset((row.repair_a, row.repair_b))] = bool(row.significant)
    # What was not measured item by item ties with nothing.
    ranked = table[(table["pruner"] != DENSE) & table["items"].notna()]
    means = dict(zip(_keys(ranked), ranked["mean"], strict=True))
    rows = dict.fromkeys(tuple(row) for *row, _ in means)
    metrics = dict(zip(table["task"], table["metric"], strict=True))
    groups: dict[tuple, int] = {}
    for (base, repairs), (task, metric) in product(by_base(rows).items(), metrics.items()):
        pairs = compared.get((*base, task), {})
        scored = {
            name: means[*row, task]
            for name, row in repairs.items()
            if row in sparse and (*row, task) in means
        }
        names = sorted(scored, key=scored.get, reverse=metric not in LOWER_IS_BETTER)
        if len(names) > 1:
            names = [a for a in names if any(frozenset((a, b)) in pairs for b in names)]
        found = tie_groups(names, lambda a, b, pairs=pairs: pairs.get(frozenset((a, b))))
        for name, number in found.items():
            key = (*repairs[name], task)
            groups[key] = max(number, groups.get(key, 1))
    return groups
