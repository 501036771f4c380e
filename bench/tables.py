"""Tables: pure functions of the records."""

import pandas as pd

from baselines.pruning import PRUNERS
from baselines.repair import REPAIRS
from bench.cells import DENSE

IDENTITY = ["model", "pruner", "pattern", "repair"]
BUDGET = ["trainable_parameters", "repair_tokens", "steps", "batch_order"]
PERPLEXITY = "perplexity"
MIB = 2**20


def cells_table(records: list[dict]) -> pd.DataFrame:
    """Long: one row a cell and task metric; a failed cell has one row, with its reason.

    Values are as measured: accuracies between 0 and 1, perplexity as it is.
    """
    rows = []
    for record in _ordered(records):
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


def table1(records: list[dict]) -> pd.DataFrame:
    """Wide: one row a (model, pruner, pattern, repair), mean and deviation over its seeds.

    Accuracies are in percent. A standard deviation of one seed is missing, not 0. Where some
    seeds failed, the means are over the others, and ``status`` says so.
    """
    records = _ordered(records)
    tasks, corpora = _tasks(records)
    rows = [
        _row(identity, list(group), tasks, corpora) for identity, group in _by_identity(records)
    ]
    columns = [*IDENTITY, "seeds", "status", "sparsity_requested", "sparsity_achieved"]
    columns += _with_deviation([*tasks, "average", *(f"{name}_{PERPLEXITY}" for name in corpora)])
    columns += ["trainable_parameters", "repair_tokens", "prune_seconds", "repair_seconds"]
    columns += ["evaluate_seconds", "repair_peak_memory_mib"]
    table = pd.DataFrame(rows, columns=columns)
    counts = ["trainable_parameters", "repair_tokens"]
    return table.astype(dict.fromkeys(counts, "Int64"))


def caption(records: list[dict]) -> str:
    """What the numbers of a table are: metrics, items, limits, versions, protocol."""
    parts = []
    for name, task in _task_settings(records).items():
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


def markdown(table: pd.DataFrame, records: list[dict]) -> str:
    """``table1`` to read: what is missing everywhere left out, and what the numbers are."""
    shown = table.drop(columns=["seeds"] if (table["seeds"] == 1).all() else [])
    shown = shown.dropna(axis="columns", how="all").rename(columns=_short)
    text = shown.map(_cell).to_markdown(
        index=False,
        disable_numparse=True,
        colalign=["left" if column in IDENTITY else "right" for column in shown.columns],
    )
    return f"{text}\n\n{caption(records)}\n"


def _cell(value) -> str:
    """Four digits are more than the items support; what is missing is a blank."""
    if pd.isna(value):
        return ""
    if isinstance(value, float):
        return f"{value:.4g}" if value < 10_000 else f"{value:,.0f}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def _short(column: str) -> str:
    """A heading that is no wider than its numbers need."""
    for long, short in {
        "sparsity_requested": "asked",
        "sparsity_achieved": "achieved",
        f"_{PERPLEXITY}": " ppl",
        "trainable_parameters": "trainable",
        "repair_tokens": "tokens",
        "_seconds": " s",
        "repair_peak_memory_mib": "repair MiB",
    }.items():
        column = column.replace(long, short)
    return column


def _ordered(records: list[dict]) -> list[dict]:
    """By model, dense first, then pruner, pattern, repair and seed in their registries' order."""
    pruners, repairs = [DENSE, *PRUNERS], list(REPAIRS)

    def position(record: dict) -> tuple:
        cell = record["cell"]
        return (
            cell["model"],
            pruners.index(cell["pruner"]),
            cell["pattern"],
            repairs.index(cell["repair"]),
            cell["seed"],
        )

    return sorted(records, key=position)


def _by_identity(records: list[dict]):
    groups: dict[tuple, list[dict]] = {}
    for record in records:
        groups.setdefault(tuple(record["cell"][key] for key in IDENTITY), []).append(record)
    return groups.items()


def _task_settings(records: list[dict]) -> dict[str, dict]:
    settings: dict[str, dict] = {}
    for record in records:
        settings |= record["config"]["resolved"]["evaluation"]["tasks"]
    return settings


def _tasks(records: list[dict]) -> tuple[list[str], list[str]]:
    """Names of the tasks scored by accuracy, and of those scored by perplexity."""
    settings = _task_settings(records)
    corpora = [name for name, task in settings.items() if task["metric"] == PERPLEXITY]
    return [name for name in settings if name not in corpora], corpora


def _with_deviation(columns: list[str]) -> list[str]:
    return [name for column in columns for name in (column, f"{column}_std")]


def _row(identity: tuple, records: list[dict], tasks: list[str], corpora: list[str]) -> dict:
    ok = [record for record in records if record["status"] == "ok"]
    scores = pd.DataFrame(
        [
            {
                **{task: shown_value(record, task) for task in tasks},
                **{f"{corpus}_{PERPLEXITY}": shown_value(record, corpus) for corpus in corpora},
            }
            for record in ok
        ],
        columns=[*tasks, *(f"{corpus}_{PERPLEXITY}" for corpus in corpora)],
        dtype=float,
    )
    # The average of a seed that lacks a task would be of other tasks: missing instead.
    scores["average"] = scores[tasks].mean(axis=1, skipna=False)
    means, deviations = scores.mean(), scores.std(ddof=1)
    return {
        **dict(zip(IDENTITY, identity, strict=True)),
        "seeds": len(records),
        "status": _status(records),
        "sparsity_requested": records[0]["sparsity"]["requested"],
        "sparsity_achieved": _mean(record["sparsity"]["achieved"] for record in ok),
        **means.to_dict(),
        **deviations.add_suffix("_std").to_dict(),
        "trainable_parameters": _cost(ok, "repair", "trainable_parameters"),
        "repair_tokens": _cost(ok, "repair", "tokens"),
        "prune_seconds": _cost(ok, "prune", "seconds"),
        "repair_seconds": _cost(ok, "repair", "seconds"),
        "evaluate_seconds": _cost(ok, "evaluate", "seconds"),
        "repair_peak_memory_mib": _peak_mib(ok),
    }


def shown_value(record: dict, task: str) -> float | None:
    """The score that tables show of a task: accuracy in percent, or perplexity; None if missing."""
    metric = record["config"]["resolved"]["evaluation"]["tasks"].get(task, {}).get("metric")
    for entry in record["metrics"]:
        if entry["task"] == task and entry["metric"] == metric and entry["value"] is not None:
            return entry["value"] * (1 if metric == PERPLEXITY else 100)
    return None


def _mean(values) -> float | None:
    present = [value for value in values if value is not None]
    return sum(present) / len(present) if present else None


def _cost(records: list[dict], stage: str, key: str) -> float | None:
    return _mean((record["stages"][stage] or {}).get(key) for record in records)


def _peak_mib(records: list[dict]) -> float | None:
    """Peak memory of the repair above what was loaded before it: the device's, else the host's."""
    peak = _cost(records, "repair", "peak_device_bytes")
    if peak is None:
        peak = _cost(records, "repair", "peak_rss_bytes")
    return None if peak is None else peak / MIB


def _status(records: list[dict]) -> str:
    failed = [record for record in records if record["status"] != "ok"]
    if not failed:
        return "ok"
    share = "" if len(records) == 1 else f" ({len(failed)} of {len(records)} seeds)"
    return f"failed{share}: {_reason(failed[0])}"


def _reason(record: dict) -> str | None:
    error = record["error"]
    return None if error is None else f"{error['stage']}: {error['class']}: {error['message']}"
