"""The tables of a paper beside the main one: sparsity, N:M, cost, and what options are worth."""

import pandas as pd

from baselines.pruning.pattern import Pattern
from bench.cells import BASE, DENSE, IDENTITY, dense_cell
from bench.config.variants import changes
from bench.evaluation.tasks import PERPLEXITY
from bench.records.rows import ANSWERS, AVERAGE, by_row, mean, repair_cost
from bench.tables.rendering import Sheet, number, reworded, with_interval
from bench.tables.table1 import (
    MIB,
    SCORES_CAPTION,
    by_identity,
    caption,
    is_best,
    one_budget,
    peak_memory_mib,
    score_text,
    stage_cost,
)

METHOD = ["model", "pruner", "budget", "repair"]
HEADINGS = {
    "repair_cost_seconds": "repair + merge s",
    "_peak_memory_mib": " MiB",
    "_disk_mib": " disk MiB",
    "_tokens_per_second": " tokens/s",
    "_seconds_evolving": " s evolving",
    "_seconds": " s",
    "_": " ",
}
STAGES = ("prune", "repair", "merge", "evaluate")


def table2(scores: pd.DataFrame) -> pd.DataFrame:
    """Perplexity against sparsity: unstructured patterns across, a row a pruner, budget and repair.

    Columns ``<pattern>_<corpus>_perplexity`` with ``_std``, ``_ci_low``, ``_ci_high`` and
    ``_tie_group``; ``dense_<corpus>_perplexity`` is the dense model's.
    """
    return _across(scores, _patterns(scores, structured=False), _perplexities(scores))


def table3(scores: pd.DataFrame) -> pd.DataFrame:
    """N:M patterns across, a row a pruner, budget and repair: average accuracy and perplexity.

    Columns as in :func:`table2`, and ``<pattern>_average``.
    """
    tasks = [AVERAGE] if (scores["task"] == AVERAGE).any() else []
    return _across(scores, _patterns(scores, structured=True), [*tasks, *_perplexities(scores)])


def across_sheet(table: pd.DataFrame, scores: pd.DataFrame, records: list[dict]) -> Sheet:
    """:func:`table2` or :func:`table3` to read."""
    found = by_identity(scores)
    labels = [name for name in METHOD if name not in one_budget(table)]
    shown, best = {name: table[name] for name in labels}, dict.fromkeys(labels, False)
    for column in table.columns:
        pattern, _, task = column.partition("_")
        if task not in set(scores["task"]):
            continue
        heading = f"{pattern} {task.replace('_', ' ')}"
        cells = [
            found.get(_row(*row, pattern), {}).get(task, {})
            for row in table[METHOD].itertuples(index=False)
        ]
        shown[heading] = [score_text(score) for score in cells]
        best[heading] = [is_best(score) for score in cells]
    return Sheet(
        pd.DataFrame(shown, dtype=str),
        pd.DataFrame(best, index=table.index),
        f"{caption(records)}. {SCORES_CAPTION}",
        labels,
    )


def table4(records: list[dict]) -> pd.DataFrame:
    """What each stage costs: means over the seeds that succeeded.

    Seconds are of computing alone; ``repair_cost_seconds`` are those of repair and merge. Memory is
    the peak above what was loaded before the stage, and ``memory`` says whose: the device's on a
    GPU, else the host's. Disk is what the stage left there: the pruned base, or what tells the
    trained model from it.
    """
    rows = []
    for row, group in by_row(records).items():
        ok = [record for record in group if record["status"] == "ok"]
        on_device = stage_cost(ok, "evaluate", "peak_device_bytes") is not None
        measured = "device" if on_device else "host"
        costs = {
            "seeds": len(ok),
            "memory": measured if ok else None,
            "trainable_parameters": stage_cost(ok, "repair", "trainable_parameters"),
            "repair_tokens": stage_cost(ok, "repair", "tokens"),
            "repair_tokens_per_second": stage_cost(ok, "repair", "tokens_per_second"),
            "repair_seconds_evolving": stage_cost(ok, "repair", "seconds_evolving"),
        }
        for stage in STAGES:
            costs[f"{stage}_seconds"] = stage_cost(ok, stage, "seconds")
            costs[f"{stage}_peak_memory_mib"] = peak_memory_mib(ok, stage)
            if stage == "merge":
                costs["repair_cost_seconds"] = mean(map(repair_cost, ok))
        for stage in ("prune", "repair"):
            disk = stage_cost(ok, stage, "disk_bytes")
            costs[f"{stage}_disk_mib"] = None if disk is None else disk / MIB
        rows.append(dict(zip(IDENTITY, row, strict=True)) | costs)
    table = pd.DataFrame(rows)
    counts = ["trainable_parameters", "repair_tokens"]
    return table.astype(dict.fromkeys(counts, "Int64"))


def table4_sheet(table: pd.DataFrame) -> Sheet:
    """:func:`table4` to read."""
    table = table.drop(columns=one_budget(table))
    shown = table.dropna(axis="columns", how="all").map(number)
    shown.columns = [reworded(column, HEADINGS) for column in shown.columns]
    return Sheet(
        shown,
        pd.DataFrame(False, index=shown.index, columns=shown.columns),
        "Means over seeds of what was measured in the jobs. Nothing is bold: costs are not tested.",
        [*IDENTITY, "memory"],
    )


def ablations(comparisons: pd.DataFrame, records: list[dict]) -> pd.DataFrame:
    """Each variant against the repair that it is a variant of: a row a base, budget and score.

    ``difference`` is the variant's score less that of the repair it is a variant ``of``, paired,
    with its 95 % interval.
    """
    changed = changes(records)
    rows = []
    for row in comparisons.to_dict("records"):
        a, b = row["repair_a"], row["repair_b"]
        swapped = changed.get(b, ("",))[0] == a
        if not swapped and changed.get(a, ("",))[0] != b:
            continue
        of, variant = (a, b) if swapped else (b, a)
        # Not -x, which makes -0 of 0.
        ends = (
            (0 - row["ci_high"], 0 - row["ci_low"]) if swapped else (row["ci_low"], row["ci_high"])
        )
        rows.append(
            {
                **{key: row[key] for key in BASE},
                "of": of,
                "variant": variant,
                "changed": changed[variant][1],
                "task": row["task"],
                "seeds": row["seeds"],
                "items": row["items"],
                "mean_of": row["mean_a"] if swapped else row["mean_b"],
                "mean": row["mean_b"] if swapped else row["mean_a"],
                "difference": 0 - row["difference"] if swapped else row["difference"],
                "ci_low": ends[0],
                "ci_high": ends[1],
                **{key: row[key] for key in ("test", "p_value", "p_holm", "significant")},
            }
        )
    columns = [*BASE, "of", "variant", "changed", "task", "seeds", "items"]
    columns += ["mean_of", "mean", "difference", "ci_low", "ci_high", "test", "p_value", "p_holm"]
    return pd.DataFrame(rows, columns=[*columns, "significant"])


def ablations_sheet(table: pd.DataFrame) -> Sheet:
    """:func:`ablations` to read: averages, bits per byte of answers, and perplexities."""
    labels = [*BASE, "of", "variant", "changed", "task"]
    labels = [name for name in labels if name not in one_budget(table)]
    read = table["task"].isin([AVERAGE, ANSWERS]) | table["task"].str.endswith(f"_{PERPLEXITY}")
    table = table[read].reset_index(drop=True)
    shown = table[labels].astype(str)
    for name in ("mean_of", "mean"):
        shown[name] = [number(value) for value in table[name]]
    shown["difference"] = [
        with_interval(row.difference, row.ci_low, row.ci_high) for row in table.itertuples()
    ]
    best = pd.DataFrame(False, index=shown.index, columns=shown.columns)
    best["difference"] = table["significant"].astype(bool)
    about = (
        "A variant less what it is a variant of; ± is half of the 95 % interval. Bold: the "
        "difference is significant after Holm's correction."
    )
    return Sheet(shown, best, about, labels)


def _perplexities(scores: pd.DataFrame) -> list[str]:
    return [task for task in scores["task"].unique() if task.endswith(f"_{PERPLEXITY}")]


def _patterns(scores: pd.DataFrame, *, structured: bool) -> list[str]:
    """The patterns of one kind, from dense to sparse."""
    patterns = {name: Pattern.parse(name) for name in scores["pattern"].unique() if name != DENSE}
    kept = {name: p for name, p in patterns.items() if (p.m is not None) == structured}
    return sorted(kept, key=lambda name: (kept[name].fraction, kept[name].m or 0))


def _across(scores: pd.DataFrame, patterns: list[str], tasks: list[str]) -> pd.DataFrame:
    found = by_identity(scores)
    methods = scores.loc[scores["pattern"].isin(patterns), METHOD].drop_duplicates()
    parts = {"": "mean", "_std": "std", "_ci_low": "ci_low", "_ci_high": "ci_high"}
    parts["_tie_group"] = "tie_group"
    columns = {f"{DENSE}_{task}": (DENSE, task, "mean") for task in tasks}
    columns |= {
        f"{pattern}_{task}{suffix}": (pattern, task, key)
        for pattern in patterns
        for task in tasks
        for suffix, key in parts.items()
    }
    rows = []
    for method in methods.itertuples(index=False):
        row = dict(zip(METHOD, method, strict=True))
        for column, (pattern, task, key) in columns.items():
            row[column] = found.get(_row(*method, pattern), {}).get(task, {}).get(key)
        rows.append(row)
    table = pd.DataFrame(rows, columns=[*METHOD, *columns])
    return table.astype({name: "Int64" for name in columns if name.endswith("_tie_group")})


def _row(model: str, pruner: str, budget: str, repair: str, pattern: str) -> tuple:
    if pattern == DENSE:
        return dense_cell(model).row
    return (model, pruner, pattern, budget, repair)
