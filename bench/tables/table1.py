"""Tables: pure functions of the records and their scores."""

from collections.abc import Iterable
from functools import partial

import pandas as pd

from bench.cells import DEFAULT_BUDGET, IDENTITY, NO_BUDGET
from bench.evaluation.tasks import PERPLEXITY
from bench.records.rows import (
    ANSWERS,
    AVERAGE,
    by_row,
    mean,
    ordered,
    repair_cost,
    score_parts,
    task_settings,
)
from bench.tables.rendering import Sheet, number, reworded, with_interval

BUDGET = ["trainable_parameters", "repair_tokens", "steps", "batch_order"]
MEMORY = "repair_peak_memory_mib"
MIB = 2**20
PARTS_OF_A_SCORE = ("", "_std", "_ci_low", "_ci_high")
# Headings that are no wider than their numbers need.
HEADINGS = {
    "sparsity_requested": "asked",
    "sparsity_achieved": "achieved",
    f"_{PERPLEXITY}": " ppl",
    "trainable_parameters": "trainable",
    "repair_tokens": "tokens",
    "repair_cost_seconds": "repair + merge s",
    "_seconds": " s",
    "repair_peak_memory_mib": "repair MiB",
}


def cells_table(records: list[dict]) -> pd.DataFrame:
    """Long: one row a cell and task metric; a failed cell has one row, with its reason.

    Values are as measured: accuracies between 0 and 1, perplexity as it is.
    """
    rows = []
    for record in ordered(records):
        shared = {
            **record["cell"],
            "status": record["status"],
            "error": _reason(record),
            "sparsity_requested": record["sparsity"]["requested"],
            "sparsity_achieved": record["sparsity"]["achieved"],
            **_budget(record),
        }
        metrics = record["metrics"] or [{}]
        rows += [
            {**shared, **metric, "config_hash": record["config"]["hash"]} for metric in metrics
        ]
    columns = [*IDENTITY, "seed", "status", "error", "sparsity_requested", "sparsity_achieved"]
    columns += BUDGET
    columns += ["task", "metric", "value", "stderr", "n", "version", "few_shot", "limit"]
    table = pd.DataFrame(rows, columns=[*columns, "config_hash"])
    return table.astype(dict.fromkeys(["trainable_parameters", "repair_tokens", "steps"], "Int64"))


def _budget(record: dict) -> dict:
    """What the cell's training was allowed; missing where nothing was trained."""
    costs = record["stages"]["repair"] or {}
    keys = ("trainable_parameters", "tokens", "steps", "batch_order")
    return dict(zip(BUDGET, map(costs.get, keys), strict=True))


def table1(records: list[dict], scores: pd.DataFrame) -> pd.DataFrame:
    """Wide: one row a (model, pruner, pattern, budget, repair), mean and deviation over its seeds.

    Accuracies are in percent; of the bits per byte of the right answer there is the mean over
    tasks. A standard deviation of one seed is missing, not 0. Where some
    seeds failed, the means are over the others, and ``status`` says so. ``recovery`` and
    ``tie_group`` are those of the average. ``repair_peak_memory_mib_low`` and ``_high`` are the
    range over all bases and seeds of the same training: how the C library's heap falls into pieces
    is chance, and moves a host's peak by several percent.

    Args:
        records: all records.
        scores: of the same records (see :mod:`bench.statistics.scores`).
    """
    names = shown_scores(records)
    found = by_identity(scores)
    memory = _memory_ranges(records)
    rows = [
        {
            **dict(zip(IDENTITY, row, strict=True)),
            "seeds": len(group),
            "status": _status(group),
            "sparsity_requested": group[0]["sparsity"]["requested"],
            "sparsity_achieved": mean(record["sparsity"]["achieved"] for record in group),
            **_row_scores(found.get(row, {}), names),
            **_costs(group),
            **memory.get(_training(row), {}),
        }
        for row, group in by_row(records).items()
    ]
    columns = [*IDENTITY, "seeds", "status", "sparsity_requested", "sparsity_achieved"]
    for name in names:
        columns += [f"{name}{part}" for part in PARTS_OF_A_SCORE]
        columns += ["recovery", "tie_group"] if name == AVERAGE else []
    columns += ["trainable_parameters", "repair_tokens", "prune_seconds", "repair_seconds"]
    columns += ["merge_seconds", "repair_cost_seconds", "evaluate_seconds"]
    columns += [MEMORY, f"{MEMORY}_low", f"{MEMORY}_high"]
    table = pd.DataFrame(rows, columns=columns)
    counts = ["trainable_parameters", "repair_tokens", "tie_group"]
    return table.astype({name: "Int64" for name in counts if name in table})


def shown_scores(records: list[dict]) -> list[str]:
    """The scores that have columns: all but the bits per byte of single tasks."""
    parts = score_parts(records)
    return [name for name in parts if name not in parts.get(ANSWERS, [])]


def by_identity(scores: pd.DataFrame) -> dict[tuple, dict[str, dict]]:
    """The scores of each row of the tables, by their names."""
    found: dict[tuple, dict[str, dict]] = {}
    for score in scores.to_dict("records"):
        found.setdefault(tuple(score[key] for key in IDENTITY), {})[score["task"]] = score
    return found


def _row_scores(scores: dict[str, dict], names: Iterable[str]) -> dict:
    row = {}
    for name in names:
        score = scores.get(name, {})
        row |= {
            name: score.get("mean"),
            **{f"{name}_{part}": score.get(part) for part in ("std", "ci_low", "ci_high")},
        }
        if name == AVERAGE:
            row |= {"recovery": score.get("recovery"), "tie_group": score.get("tie_group")}
    return row


def _costs(records: list[dict]) -> dict:
    ok = [record for record in records if record["status"] == "ok"]
    return {
        "trainable_parameters": stage_cost(ok, "repair", "trainable_parameters"),
        "repair_tokens": stage_cost(ok, "repair", "tokens"),
        "prune_seconds": stage_cost(ok, "prune", "seconds"),
        "repair_seconds": stage_cost(ok, "repair", "seconds"),
        "merge_seconds": stage_cost(ok, "merge", "seconds"),
        "repair_cost_seconds": mean(map(repair_cost, ok)),
        "evaluate_seconds": stage_cost(ok, "evaluate", "seconds"),
        MEMORY: peak_memory_mib(ok, "repair"),
    }


def _training(row: tuple) -> tuple:
    """What the memory of a training depends on: not on the pruner, nor on the seed."""
    model, _, *rest = row
    return model, *rest


def _memory_ranges(records: list[dict]) -> dict[tuple, dict]:
    """Lowest and highest peak memory of each training, over its bases and seeds."""
    peaks: dict[tuple, list[float]] = {}
    for row, group in by_row(records).items():
        for record in group:
            if record["status"] == "ok" and (peak := peak_memory_mib([record], "repair")):
                peaks.setdefault(_training(row), []).append(peak)
    return {
        training: {f"{MEMORY}_low": min(found), f"{MEMORY}_high": max(found)}
        for training, found in peaks.items()
    }


def stage_cost(records: list[dict], stage: str, key: str) -> float | None:
    """The mean of what a stage cost, over the records that know it."""
    return mean((record["stages"][stage] or {}).get(key) for record in records)


def peak_memory_mib(records: list[dict], stage: str) -> float | None:
    """Peak memory of a stage above what was loaded before it: the device's, else the host's."""
    peak = stage_cost(records, stage, "peak_device_bytes")
    if peak is None:
        peak = stage_cost(records, stage, "peak_rss_bytes")
    return None if peak is None else peak / MIB


def caption(records: list[dict]) -> str:
    """What the numbers of a table are: metrics, items, limits, versions, protocol."""
    parts = []
    for name, task in task_settings(records).items():
        measured = {
            (m["n"], m["version"], m["few_shot"], m["limit"])
            for record in records
            for m in record["metrics"]
            if m["task"] == name and m["metric"] == task["metric"]
        }
        for n, version, few_shot, limit in sorted(measured, key=str):
            items = f"{n} items" + (" (limited)" if limit else "")
            parts.append(f"{name}: {task['metric']}, {few_shot}-shot, {items}, version {version}")
    return "; ".join(parts)


ANSWERS_CAPTION = (
    f"{ANSWERS}: bits per byte of the right answer, the mean over tasks; lower is better. "
)
SCORES_CAPTION = (
    "± is half of the 95 % interval over items, and over seeds where there are several. Bold: the "
    "best tie group among the repairs of a base that are as sparse as was asked."
)


def table1_sheet(table: pd.DataFrame, scores: pd.DataFrame, records: list[dict]) -> Sheet:
    """``table1`` to read: what is missing everywhere left out, and what the numbers are."""
    shown, best = {}, {}
    names, found = shown_scores(records), by_identity(scores)
    rows = [found.get(tuple(row), {}) for row in table[IDENTITY].itertuples(index=False)]
    parts_of_scores = {f"{name}{part}" for name in names for part in PARTS_OF_A_SCORE}
    hidden = {
        "tie_group",
        f"{MEMORY}_low",
        f"{MEMORY}_high",
        *(["seeds"] if (table["seeds"] == 1).all() else []),
        *one_budget(table),
    }
    for column in table.dropna(axis="columns", how="all"):
        if column in names:
            shown[column] = [score_text(row.get(column, {})) for row in rows]
            best[column] = [is_best(row.get(column, {})) for row in rows]
        elif column == MEMORY:
            ends = zip(table[f"{MEMORY}_low"], table[f"{MEMORY}_high"], strict=True)
            shown[column] = [
                f"{number(value)} ({number(low)} to {number(high)})" if pd.notna(value) else ""
                for value, (low, high) in zip(table[column], ends, strict=True)
            ]
            best[column] = False
        elif column not in parts_of_scores | hidden:
            shown[column] = [number(value) for value in table[column]]
            best[column] = False
    about = f"{caption(records)}. {ANSWERS_CAPTION if ANSWERS in names else ''}{SCORES_CAPTION}"
    heading = partial(reworded, words=HEADINGS)
    return Sheet(
        pd.DataFrame(shown).rename(columns=heading),
        pd.DataFrame(best, index=table.index).rename(columns=heading),
        about,
        IDENTITY,
    )


def one_budget(table: pd.DataFrame) -> list[str]:
    """The column of the budgets, if a table to read can do without: all is of the default one."""
    return ["budget"] if table["budget"].isin([DEFAULT_BUDGET, NO_BUDGET]).all() else []


def score_text(score: dict) -> str:
    """A score of ``scores.csv`` with half of its interval."""
    return with_interval(*(score.get(key) for key in ("mean", "ci_low", "ci_high")))


def is_best(score: dict) -> bool:
    """Whether a score of ``scores.csv`` is in the best tie group."""
    group = score.get("tie_group")
    return bool(pd.notna(group) and group == 1)


def _status(records: list[dict]) -> str:
    failed = [record for record in records if record["status"] != "ok"]
    if not failed:
        return "ok"
    share = "" if len(records) == 1 else f" ({len(failed)} of {len(records)} seeds)"
    return f"failed{share}: {_reason(failed[0])}"


def _reason(record: dict) -> str | None:
    error = record["error"]
    if error is None:
        return None
    log = f" ({error['log']})" if error.get("log") else ""
    return f"{error['stage']}: {error['class']}: {error['message']}{log}"
