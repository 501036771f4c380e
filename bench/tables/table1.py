"""Tables: pure functions of the records and their scores."""

from collections.abc import Iterable

import pandas as pd

from bench.cells import DEFAULT_BUDGET, IDENTITY, NO_BUDGET
from bench.records.measures import (
    ANSWERS,
    COSTS,
    MEMORY,
    SEVERAL,
    chief_scores,
    device_of,
    kinds_of,
)
from bench.records.record import ORIGIN
from bench.records.rows import by_row, mean, ordered, score_parts, task_settings
from bench.tables.rendering import Sheet, number, with_ends, with_interval

BUDGET = ["trainable_parameters", "repair_tokens", "steps", "batch_order"]
ENDS = {"_low": min, "_high": max}
WHENCE = [ORIGIN, "device"]
OF_CHIEF = ["recovery", "recovery_low", "recovery_high", "tie_group"]
# What the columns of a score end in, and what stands in them of ``scores.csv``.
OF_A_SCORE = {"": "mean", "_std": "std", "_ci_low": "ci_low", "_ci_high": "ci_high"}
# All other columns of the table.
BESIDE_SCORES = [*IDENTITY, "seeds", "status", "sparsity_requested", "sparsity_achieved", *OF_CHIEF]
BESIDE_SCORES += [name for name, cost in COSTS.items() if cost.in_table1]
BESIDE_SCORES += [*(f"{MEMORY}{end}" for end in ENDS), *WHENCE]
# Headings that are no wider than their numbers need.
HEADINGS = {"sparsity_requested": "asked", "sparsity_achieved": "achieved"}


def cells_table(records: list[dict]) -> pd.DataFrame:
    """Long: one row a cell and task metric; a failed cell has one row, with its reason.

    Values are as measured: accuracies between 0 and 1, perplexity as it is.
    """
    rows = []
    for record in ordered(records):
        trained = record["stages"]["repair"] or {}
        allowed = map(trained.get, ("trainable_parameters", "tokens", "steps", "batch_order"))
        shared = {
            **record["cell"],
            "status": record["status"],
            "error": _reason(record),
            "sparsity_requested": record["sparsity"]["requested"],
            "sparsity_achieved": record["sparsity"]["achieved"],
            **dict(zip(BUDGET, allowed, strict=True)),
        }
        metrics = record["metrics"] or [{}]
        rows += [
            {
                **metric,
                **shared,
                "config_hash": record["config"]["hash"],
                ORIGIN: record[ORIGIN],
                "device": device_of(record),
            }
            for metric in metrics
        ]
    columns = [*IDENTITY, "seed", "status", "error", "sparsity_requested", "sparsity_achieved"]
    columns += BUDGET
    columns += ["task", "metric", "value", "stderr", "n", "version", "few_shot", "limit"]
    table = pd.DataFrame(rows, columns=[*columns, "config_hash", *WHENCE])
    return table.astype(dict.fromkeys(["trainable_parameters", "repair_tokens", "steps"], "Int64"))


def table1(records: list[dict], scores: pd.DataFrame) -> pd.DataFrame:
    """Wide: one row a (model, pruner, pattern, budget, repair), mean and deviation over its seeds.

    Accuracies are in percent; of the bits per byte of the right answer there is the mean over
    tasks. A standard deviation of one seed is missing, not 0. Where some seeds failed, the means
    are over the others, and ``status`` says so. ``recovery`` and ``tie_group`` are those of the
    score before them, that with most signal (:func:`bench.records.measures.chief_scores`).
    ``repair_peak_memory_mib_low`` and ``_high`` are the range over all bases and seeds of the same
    training on the same device: how the C library's heap falls into pieces is chance, and moves a
    host's peak by several percent. ``origin`` is the submission that a row comes from, ``here`` of
    all others; ``device`` is what was computed on: only costs of one device are comparable.

    Args:
        records: all records.
        scores: of the same records (see :mod:`bench.statistics.scores`).
    """
    names, chief = shown_scores(records), next(iter(chief_scores(scores)), None)
    found = rows_by(scores, IDENTITY, "task")
    memory = _memory_peaks(records)
    rows = []
    for row, group in by_row(records).items():
        devices = sorted({device_of(record) for record in group})
        alike = [memory.get((*_training(row), device), []) for device in devices]
        peaks = [peak for of_device in alike for peak in of_device]
        about = {
            **dict(zip(IDENTITY, row, strict=True)),
            "seeds": len(group),
            "status": _status(group),
            "sparsity_requested": group[0]["sparsity"]["requested"],
            "sparsity_achieved": mean(record["sparsity"]["achieved"] for record in group),
            **_row_scores(found.get(row, {}), names, chief),
            **costs(group, [name for name, cost in COSTS.items() if cost.in_table1]),
            **{f"{MEMORY}{end}": of(peaks, default=None) for end, of in ENDS.items()},
            ORIGIN: group[0][ORIGIN],
            "device": SEVERAL.join(devices),
        }
        rows.append(about)
    return as_counts(pd.DataFrame(rows), ["tie_group"])


def costs(records: list[dict], names: Iterable[str]) -> dict[str, float | None]:
    """The means of these of ``COSTS``, over the records that succeeded and know them."""
    ok = [record for record in records if record["status"] == "ok"]
    return {name: mean(map(COSTS[name].of, ok)) for name in names}


def as_counts(table: pd.DataFrame, others: Iterable[str] = ()) -> pd.DataFrame:
    """With costs that are counts, and other columns, as whole numbers that may be missing."""
    counts = [*others, *(name for name, cost in COSTS.items() if cost.is_count)]
    return table.astype({name: "Int64" for name in counts if name in table})


def shown_scores(records: list[dict]) -> list[str]:
    """The scores that have columns: all but the bits per byte of single tasks."""
    parts = score_parts(records)
    return [name for name in parts if name not in parts.get(ANSWERS, [])]


def rows_by(table: pd.DataFrame, keys: list[str], name: str) -> dict[tuple, dict[str, dict]]:
    """The rows of a table, by the values of these columns, and then by that of another one."""
    found: dict[tuple, dict[str, dict]] = {}
    for row in table.to_dict("records"):
        found.setdefault(tuple(row[key] for key in keys), {})[row[name]] = row
    return found


def _row_scores(scores: dict[str, dict], names: Iterable[str], chief: str | None) -> dict:
    row = {}
    for name in names:
        score = scores.get(name, {})
        row |= {f"{name}{end}": score.get(part) for end, part in OF_A_SCORE.items()}
        row |= {key: score.get(key) for key in OF_CHIEF if name == chief}
    return row


def _training(row: tuple) -> tuple:
    """What the memory of a training depends on: not on the pruner, nor on the seed."""
    model, _, *rest = row
    return model, *rest


def _memory_peaks(records: list[dict]) -> dict[tuple, list[float]]:
    """The known peaks of each training on each device, over bases and seeds."""
    peaks: dict[tuple, list[float]] = {}
    for row, group in by_row(records).items():
        for record in group:
            peak = COSTS[MEMORY].of(record) if record["status"] == "ok" else None
            if peak is not None:
                peaks.setdefault((*_training(row), device_of(record)), []).append(peak)
    return peaks


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
    "best tie group (not significantly worse than the best) among the repairs of a base that are "
    "as sparse as was asked, where another one is significantly worse."
)


def table1_sheet(table: pd.DataFrame, scores: pd.DataFrame, records: list[dict]) -> Sheet:
    """``table1`` to read: what is missing everywhere left out, and what the numbers are."""
    shown, best = {}, {}
    names, found = shown_scores(records), rows_by(scores, IDENTITY, "task")
    kinds = kinds_of(scores)
    rows = [found.get(tuple(row), {}) for row in table[IDENTITY].itertuples(index=False)]
    parts_of_scores = {f"{name}{end}" for name in names for end in OF_A_SCORE}
    hidden = {
        *OF_CHIEF[1:],
        *(f"{MEMORY}{end}" for end in ENDS),
        *(name for name in WHENCE if table[name].nunique() == 1),
        *(["seeds"] if (table["seeds"] == 1).all() else []),
        *one_budget(table),
    }
    for column in table.dropna(axis="columns", how="all"):
        if column in names:
            heading = kinds[column].heading(column)
            shown[heading] = [score_text(row.get(column, {})) for row in rows]
            best[heading] = [row.get(column, {}).get("best", False) for row in rows]
        elif f"{column}_low" in table:
            heading = COSTS[column].heading if column in COSTS else column
            shown[heading] = [
                with_ends(row[column], row[f"{column}_low"], row[f"{column}_high"])
                for row in table.to_dict("records")
            ]
        elif column not in parts_of_scores | hidden:
            heading = COSTS[column].heading if column in COSTS else HEADINGS.get(column, column)
            shown[heading] = [number(value) for value in table[column]]
    about = f"{caption(records)}. {ANSWERS_CAPTION if ANSWERS in names else ''}{SCORES_CAPTION}"
    return Sheet(pd.DataFrame(shown), best, about, IDENTITY)


def one_budget(table: pd.DataFrame) -> list[str]:
    """The column of the budgets, if a table to read can do without: all is of the default one."""
    return ["budget"] if table["budget"].isin([DEFAULT_BUDGET, NO_BUDGET]).all() else []


def score_text(score: dict) -> str:
    """A score of ``scores.csv`` with half of its interval."""
    return with_interval(*(score.get(key) for key in ("mean", "ci_low", "ci_high")))


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
