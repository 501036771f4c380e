"""The leaderboard's rows, and everything that is known of their cells."""

import json

from bench.cells import IDENTITY
from bench.evaluation.tasks import ANSWER_BPB
from bench.records.measures import ANSWERS, COSTS, KINDS, MEMORY, Kind, chief_scores, kinds_of
from bench.records.record import ORIGIN, PUBLISHED
from bench.records.rows import SPARSITY_TOLERANCE
from bench.report.sources import Sources, plain
from bench.statistics.comparisons import Verdict
from bench.tables.table1 import ENDS, WHENCE

SCORE = ("mean", "ci_low", "ci_high", "best", "tie_group")
RECOVERY = ("recovery", "recovery_low", "recovery_high")


def board(sources: Sources) -> dict:
    """The columns, ``scores`` and ``costs``, and a row for each line of the main table.

    The scores by which repairs are judged, of the group ``chief``, come first; then the accuracies
    of ``task``s; bits per byte of single tasks are of ``detail``, and have no column. A row's
    ``scores`` are, for each of these, the values of ``SCORE``, its ``recovery`` that of the first;
    its ``cells`` are positions in what :func:`cells` returns. Published numbers that are measured
    here are rows of that origin, without cells.
    """
    table, scores = sources.results.costs, sources.results.scores
    kinds, chief = kinds_of(scores), chief_scores(scores)
    names = [*chief, *(name for name in kinds if name not in chief)]
    groups = dict.fromkeys(kinds, "task") | dict.fromkeys(details(kinds), "detail")
    groups |= dict.fromkeys(chief, "chief")
    scored = {(tuple(row[key] for key in IDENTITY), row["task"]): row for row in plain(scores)}
    numbers: dict[tuple, list[int]] = {}
    records = list(sources.records.values())
    for number, record in enumerate(records):
        identity = tuple(record["cell"][key] for key in IDENTITY)
        numbers.setdefault(identity, []).append(number)
    shown = [name for name, cost in COSTS.items() if cost.on_page]
    ends = [f"{MEMORY}{end}" for end in ENDS]
    states = {one.name: one.state for one in sources.submissions}
    rows = []
    for row in plain(table):
        identity = tuple(row[key] for key in IDENTITY)
        ours = [scored.get((identity, name), {}) for name in names]
        achieved, asked = row["sparsity_achieved"], row["sparsity_requested"]
        status, _, reason = row["status"].partition(": ")
        rows.append(
            {
                **{key: row[key] for key in (*IDENTITY, *WHENCE, "seeds", *shown, *ends)},
                "state": states.get(row[ORIGIN], ""),
                "status": status,
                "reason": reason,
                "asked": asked,
                "achieved": achieved,
                # One seed that is not as sparse takes the rank of all.
                "drifted": any(_has_drifted(records[n]) for n in numbers.get(identity, [])),
                "scores": [[score.get(key) for key in SCORE] for score in ours],
                "recovery": [ours[0].get(key) for key in RECOVERY] if ours else [],
                "cells": numbers.get(identity, []),
            }
        )
    rows += _published(sources, names, [*shown, *ends])
    return {
        "scores": [
            {
                "name": name,
                "heading": kinds[name].heading(name),
                "lower": kinds[name].lower_is_better,
                "group": groups[name],
            }
            for name in names
        ],
        "costs": [
            {"name": name, "heading": COSTS[name].heading, "count": COSTS[name].is_count}
            for name in shown
        ],
        "rows": rows,
    }


def _has_drifted(record: dict) -> bool:
    achieved, asked = (record["sparsity"][key] for key in ("achieved", "requested"))
    return achieved is not None and abs(achieved - asked) > SPARSITY_TOLERANCE


def _published(sources: Sources, names: list[str], costs: list[str]) -> list[dict]:
    """Rows of published numbers that are measured here, in the columns that measure them."""
    found: dict[tuple, dict[str, dict[str, float]]] = {}
    for number in plain(sources.reproduction):
        if number["score"] is not None:
            row = {**number, "model": number["model_here"]}
            ours = found.setdefault(tuple(row[key] for key in IDENTITY), {})
            ours.setdefault(number["source"], {})[number["score"]] = number["published"]
    empty = dict.fromkeys(SCORE)
    return [
        {
            **dict(zip(IDENTITY, identity, strict=True)),
            **dict.fromkeys([*costs, "device", "seeds", "asked", "achieved"]),
            ORIGIN: PUBLISHED,
            "state": source,
            "status": PUBLISHED,
            "reason": "",
            "drifted": False,
            "scores": [[*(empty | {"mean": numbers.get(name)}).values()] for name in names],
            "recovery": [None] * len(RECOVERY),
            "cells": [],
        }
        for identity, by_source in found.items()
        for source, numbers in _agreeing(by_source).items()
    ]


def _agreeing(by_source: dict[str, dict[str, float]]) -> dict[str, dict[str, float]]:
    """The scores of all sources as those of one; as they are where two differ in a score."""
    together: dict[str, float] = {}
    for numbers in by_source.values():
        if (together | numbers) != (numbers | together):
            return by_source
        together |= numbers
    return {"; ".join(sorted(by_source)): together}


def details(kinds: dict[str, Kind]) -> set[str]:
    """The scores that are shown in the drawer alone: bits per byte of single tasks."""
    return {name for name, kind in kinds.items() if kind is KINDS[ANSWER_BPB]} - {ANSWERS}


def pairs(sources: Sources) -> list[dict]:
    """The comparisons in the scores that have columns, those by which repairs are judged first."""
    scores, comparisons = sources.results.scores, sources.results.comparisons
    chief, kinds = chief_scores(scores), kinds_of(scores)
    comparisons = comparisons[~comparisons["task"].isin(details(kinds))]
    settled = dict.fromkeys((Verdict.BETTER.value, Verdict.WORSE.value), "significant")
    names = {name: n for n, name in enumerate(dict.fromkeys([*chief, *kinds]))}
    table = comparisons.assign(
        score=[kinds[name].heading(name) for name in comparisons["task"]],
        verdict=comparisons["verdict"].replace(settled),
    ).sort_values("task", key=lambda task: task.map(names), kind="stable")
    return plain(table.drop(columns=["task", "metric", "p_value", "significant"]))


def cells(sources: Sources) -> dict:
    """``cells``, one a record, and the ``pool`` of what many of them share.

    A number in a cell's ``config`` and ``provenance`` is a position in the pool.
    """
    pool: dict[str, int] = {}

    def pooled(value) -> int:
        return pool.setdefault(json.dumps(value, sort_keys=True), len(pool))

    found = []
    for path, record in sources.records.items():
        layers = (record["sparsity"]["layers"] or {}).values()
        found.append(
            {
                "path": path,
                "seed": record["cell"]["seed"],
                **{key: record[key] for key in ("status", "error", "stages", "metrics", "samples")},
                "sparsity": {
                    **{key: record["sparsity"][key] for key in ("requested", "achieved")},
                    "lowest_layer": min(layers, default=None),
                    "highest_layer": max(layers, default=None),
                },
                "hash": record["config"]["hash"],
                "config": {
                    section: pooled(value)
                    for section, value in record["config"]["resolved"].items()
                },
                "provenance": pooled(record["provenance"]),
            }
        )
    return {"cells": found, "pool": [json.loads(value) for value in pool]}
