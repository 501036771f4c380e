"""Every score with its errors, its interval, its recovery and its tie group."""

import math
from itertools import product

import numpy as np
import pandas as pd

from bench.cells import BASE, DENSE, IDENTITY, UNREPAIRED, Cell, dense_cell
from bench.evaluation.tasks import PERPLEXITY
from bench.records.measures import kind_of, kinds_of
from bench.records.rows import (
    budget_tokens,
    by_base,
    by_row,
    is_sparse,
    score_metrics,
    score_parts,
    shown_score,
)
from bench.statistics.bootstrap import (
    DECIMALS,
    LEVEL,
    critical_value,
    deviation,
    mean_over_tasks,
    resample,
    spread,
)
from bench.statistics.comparisons import pair
from bench.statistics.items import Items, Row
from bench.statistics.significance import is_negligible, tie_groups

COLUMNS = [*IDENTITY, "tokens", "task", "metric", "seeds", "items", "mean", "std"]
COLUMNS += ["se_seeds", "se_items", "ci_low", "ci_high"]
COLUMNS += ["recovery", "recovery_low", "recovery_high", "tie_group", "best"]


def scores_table(
    records: list[dict], items: dict[Row, dict[str, Items]], comparisons: pd.DataFrame
) -> pd.DataFrame:
    """Long: one row a (model, pruner, pattern, budget, repair) and score, accuracies in percent.

    ``tokens`` are those of the budget, 0 where nothing is trained. ``mean`` and ``std`` are over
    the seeds that succeeded, as they were recorded; errors and interval are missing without results
    item by item. ``best``: in the first tie group of a base where that tells rows apart. See
    :mod:`bench.statistics`.

    Args:
        records: all records.
        items: their results item by item.
        comparisons: of the same records.
    """
    grouped, scores = by_row(records), score_parts(records)
    metrics = score_metrics(records)
    rows = [
        {
            **dict(zip(IDENTITY, row, strict=True)),
            "tokens": budget_tokens(group[0]),
            "task": task,
            "metric": metrics[task],
            **(summary := _summary(group, parts)),
            **_certainty(items.get(row, {}), parts, summary["seeds"]),
        }
        for row, group in grouped.items()
        for task, parts in scores.items()
    ]
    numbers = dict.fromkeys(COLUMNS[COLUMNS.index("mean") : COLUMNS.index("tie_group")], float)
    table = pd.DataFrame(rows, columns=COLUMNS).astype(numbers)
    means = table.set_index([*IDENTITY, "task"])["mean"].to_dict()
    for row in table.itertuples():
        estimate = _recovery(means, row)
        if estimate is not None:
            ends = _recovery_interval(items, row, scores[row.task])
            table.loc[row.Index, ["recovery", "recovery_low", "recovery_high"]] = estimate, *ends
    sparse = {row for row, group in grouped.items() if is_sparse(group)}
    groups = _tie_groups(table, comparisons, sparse)
    # What is not trained is in a group at each budget of its base, and has the last of them.
    table["tie_group"] = [
        max(n for n, _ in groups[k]) if k in groups else None for k in _keys(table)
    ]
    table["best"] = [
        all(number == 1 for number, _ in found) and any(last > 1 for _, last in found)
        for found in (groups.get(key, ()) for key in _keys(table))
    ]
    counts = dict.fromkeys(["items", "tie_group"], "Int64")
    return table.astype(counts).round(DECIMALS)


def _summary(records: list[dict], parts: list[str]) -> dict:
    values = [shown_score(record, parts) for record in records]
    values = [value for value in values if value is not None]
    return {
        "seeds": len(values),
        "mean": np.mean(values) if values else None,
        "std": deviation(values) if len(values) > 1 else None,
    }


def _certainty(tasks: dict[str, Items], parts: list[str], seeds: int) -> dict:
    """Errors and interval of a mean over so many seeds; none where items are of others."""
    if any(part not in tasks for part in parts):
        return {}
    first = tasks[parts[0]]
    score = mean_over_tasks([resample(tasks[part]) for part in parts])
    if first.is_perplexity:
        score = score.exp()
    certainty = spread(score, geometric=first.is_perplexity)
    if certainty.seeds != seeds:
        return {}
    low, high = certainty.interval()
    if low is not None:
        low = max(low, 1.0 if first.is_perplexity else 0.0)
        high = high if kind_of(first.metric).lower_is_better else min(high, 100.0)
    return {
        "items": certainty.items,
        "se_seeds": certainty.se_seeds,
        "se_items": certainty.se_items,
        "ci_low": low,
        "ci_high": high,
    }


def _recovery(means: dict[tuple, float], row) -> float | None:
    dense, unrepaired = _ends(row)
    whole, base = (means.get((*end, row.task), math.nan) for end in (dense, unrepaired))
    score = row.mean
    if row.metric == PERPLEXITY:
        whole, base, score = math.log(whole), math.log(base), math.log(score)
    if kind_of(row.metric).lower_is_better:
        whole, base, score = -whole, -base, -score
    return (score - base) / (whole - base) if row.pruner != DENSE and whole > base else None


def _recovery_interval(
    items: dict[Row, dict[str, Items]], row, parts: list[str]
) -> tuple[float | None, float | None]:
    """Its 95 % interval after Fieller (1954), as of a ratio of two differences on the same items.

    None where the dense model is not surely the better of the two, or not on the same items.
    """
    dense, unrepaired = (items.get(end, {}) for end in _ends(row))
    won = pair(items.get(tuple(getattr(row, key) for key in IDENTITY), {}), unrepaired, parts)
    lost = pair(dense, unrepaired, parts)
    if won is None or lost is None or won.items != lost.items or row.repair == UNREPAIRED:
        return None, None
    gain, loss = spread(won.difference), spread(lost.difference)
    if not gain.se:
        return None, None
    shared = np.cov(won.difference.replicates.mean(axis=0), lost.difference.replicates[0])[0, 1]
    squared = critical_value(gain.sources, LEVEL) ** 2
    a = loss.estimate**2 - squared * loss.se**2
    b = gain.estimate * loss.estimate - squared * shared
    c = gain.estimate**2 - squared * gain.se**2
    if a <= 0:
        return None, None
    half = math.sqrt(max(b**2 - a * c, 0.0))
    return (b - half) / a, (b + half) / a


def _ends(row) -> tuple[tuple, tuple]:
    """The rows of the dense model and of the unrepaired base of a row."""
    base = Cell(row.model, row.pruner, row.pattern, UNREPAIRED, seed=0)
    return dense_cell(row.model).row, base.row


def _keys(table: pd.DataFrame) -> list[tuple]:
    return list(zip(*(table[key] for key in (*IDENTITY, "task")), strict=True))


def _tie_groups(
    table: pd.DataFrame, comparisons: pd.DataFrame, sparse: set[tuple]
) -> dict[tuple, list[tuple[int, int]]]:
    """The tie group of each row and task that has one, and the last group that it was ranked among;
    of what is not trained, at each budget of its base.
    """
    compared: dict[tuple, dict[tuple[str, str], bool]] = {}
    for family, pairs in comparisons.groupby([*BASE, "task"], sort=False):
        # One seed tells no method from its luck: where others have several, it is not ranked.
        pairs = pairs[pairs["seeds"] >= min(2, pairs["seeds"].max())]
        beats = compared[family] = {}
        for row in pairs.itertuples():
            kind = kind_of(row.metric)
            surely = row.significant and not is_negligible(row.ci_low, row.ci_high, kind.negligible)
            ahead = kind.favours(row.difference)
            beats[row.repair_a, row.repair_b] = bool(surely and ahead)
            beats[row.repair_b, row.repair_a] = bool(surely and not ahead)
    # What was not measured item by item ties with nothing.
    ranked = table[(table["pruner"] != DENSE) & table["items"].notna()]
    means = dict(zip(_keys(ranked), ranked["mean"], strict=True))
    rows = dict.fromkeys(tuple(row) for *row, _ in means)
    groups: dict[tuple, list[tuple[int, int]]] = {}
    for (base, repairs), (task, kind) in product(by_base(rows).items(), kinds_of(table).items()):
        beats = compared.get((*base, task), {})
        scored = {
            name: means[*row, task]
            for name, row in repairs.items()
            if row in sparse and (*row, task) in means
        }
        names = sorted(scored, key=scored.get, reverse=not kind.lower_is_better)
        if len(names) > 1:
            names = [a for a in names if any((a, b) in beats for b in names)]
        found = tie_groups(names, lambda a, b, beats=beats: beats.get((a, b)))
        for name, number in found.items():
            groups.setdefault((*repairs[name], task), []).append((number, max(found.values())))
    return groups
