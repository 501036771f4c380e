"""The tables of a paper beside the main one: sparsity, N:M, cost, and what options are worth."""

import pandas as pd

from baselines.pruning.pattern import Pattern
from bench.cells import BASE, DENSE, IDENTITY, dense_cell
from bench.config.variants import changes
from bench.evaluation.tasks import PERPLEXITY
from bench.records.measures import ANSWERS, AVERAGE, COSTS, SEVERAL, kinds_of
from bench.records.rows import by_row
from bench.statistics.comparisons import less
from bench.tables.rendering import Sheet, number, with_interval
from bench.tables.table1 import (
    OF_A_SCORE,
    SCORES_CAPTION,
    as_counts,
    caption,
    costs,
    one_budget,
    rows_by,
    score_text,
)

METHOD = ["model", "pruner", "budget", "repair"]


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
    found, kinds = rows_by(scores, IDENTITY, "task"), kinds_of(scores)
    labels = [name for name in METHOD if name not in one_budget(table)]
    shown, best = {name: table[name] for name in labels}, {}
    for column in table.columns:
        pattern, _, task = column.partition("_")
        if task not in kinds:
            continue
        heading = f"{pattern} {kinds[task].heading(task)}"
        cells = [
            found.get(_row(*row, pattern), {}).get(task, {})
            for row in table[METHOD].itertuples(index=False)
        ]
        shown[heading] = [score_text(score) for score in cells]
        best[heading] = [score.get("best", False) for score in cells]
    return Sheet(
        pd.DataFrame(shown, dtype=str),
        best,
        f"{caption(records)}. {SCORES_CAPTION}",
        labels,
    )


def table4(records: list[dict]) -> pd.DataFrame:
    """What each stage costs: means over the seeds that succeeded.

    Seconds are of computing alone; ``repair_cost_seconds`` are those of repair and merge. Memory is
    the peak above what was loaded before the stage, and ``memory`` says whose: the device's on a
    GPU, else the host's; both where stages or seeds were computed on different ones. Disk is what
    the stage left there: the pruned base, or what tells the trained model from it.
    """
    rows = []
    for row, group in by_row(records).items():
        ok = [record for record in group if record["status"] == "ok"]
        stages = [costs for record in ok for costs in record["stages"].values() if costs]
        peaks = [costs.get("peak_device_bytes") for costs in stages]
        measured = sorted({"host" if peak is None else "device" for peak in peaks})
        about = {"seeds": len(ok), "memory": SEVERAL.join(measured) or None}
        rows.append(dict(zip(IDENTITY, row, strict=True)) | about | costs(group, COSTS))
    return as_counts(pd.DataFrame(rows))


def table4_sheet(table: pd.DataFrame) -> Sheet:
    """:func:`table4` to read."""
    table = table.drop(columns=one_budget(table))
    shown = table.dropna(axis="columns", how="all").map(number)
    headings = {name: cost.heading for name, cost in COSTS.items()}
    shown = shown.rename(columns=headings)
    return Sheet(
        shown,
        {},
        "Means over seeds of what was measured in the jobs. Nothing is bold: costs are not tested.",
        [*IDENTITY, "memory"],
    )


def ablations(comparisons: pd.DataFrame, records: list[dict]) -> pd.DataFrame:
    """Each variant against the repair that it is a variant of: a row a base, budget and score.

    ``difference`` is the variant's score less that of the repair it is a variant ``of``, paired,
    with its 95 % interval.
    """
    parts = [less(comparisons[:0], "").assign(of="", changed="")]
    for name, (of, changed) in changes(records).items():
        rows = less(comparisons, of)
        parts.append(rows[rows["repair"] == name].assign(of=of, changed=changed))
    table = pd.concat(parts).sort_index(kind="stable")
    table = table.rename(columns={"repair": "variant", "other": "mean_of"})
    first = [*BASE, "of", "variant", "changed", "task", "metric", "seeds", "items", "mean_of"]
    return table[[*first, *table.columns.drop(first)]].reset_index(drop=True)


def ablations_sheet(table: pd.DataFrame) -> Sheet:
    """:func:`ablations` to read: averages, bits per byte of answers, and perplexities."""
    labels = [*BASE, "of", "variant", "changed", "task"]
    labels = [name for name in labels if name not in one_budget(table)]
    read = table["task"].isin([AVERAGE, ANSWERS]) | (table["metric"] == PERPLEXITY)
    table = table[read].reset_index(drop=True)
    shown = table[labels].astype(str)
    for name in ("mean_of", "mean"):
        shown[name] = [number(value) for value in table[name]]
    shown["difference"] = [
        with_interval(row.difference, row.ci_low, row.ci_high) for row in table.itertuples()
    ]
    shown["verdict"] = table["verdict"]
    about = (
        "A variant less what it is a variant of, of perplexities in nats a token; ± is half of "
        "the 95 % interval. Bold: the difference is significant after Holm's correction. The "
        "verdict is of the variant."
    )
    return Sheet(shown, {"difference": table["significant"]}, about, labels)


def _perplexities(scores: pd.DataFrame) -> list[str]:
    return list(scores.loc[scores["metric"] == PERPLEXITY, "task"].unique())


def _patterns(scores: pd.DataFrame, *, structured: bool) -> list[str]:
    """The patterns of one kind, from dense to sparse."""
    patterns = {name: Pattern.parse(name) for name in scores["pattern"].unique() if name != DENSE}
    kept = {name: p for name, p in patterns.items() if (p.m is not None) == structured}
    return sorted(kept, key=lambda name: (kept[name].fraction, kept[name].m or 0))


def _across(scores: pd.DataFrame, patterns: list[str], tasks: list[str]) -> pd.DataFrame:
    found = rows_by(scores, IDENTITY, "task")
    methods = scores.loc[scores["pattern"].isin(patterns), METHOD].drop_duplicates()
    parts = OF_A_SCORE | {"_tie_group": "tie_group"}
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
