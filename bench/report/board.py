"""The leaderboard's rows, and everything that is known of their cells."""

import json

from bench.cells import IDENTITY
from bench.records.rows import SPARSITY_TOLERANCE
from bench.report.sources import Sources, plain

SCORE = ("mean", "ci_low", "ci_high", "tie_group", "recovery")
COSTS = (
    "trainable_parameters",
    "repair_peak_memory_mib",
    "repair_peak_memory_mib_low",
    "repair_peak_memory_mib_high",
    "prune_seconds",
    "repair_cost_seconds",
    "evaluate_seconds",
)


def board(sources: Sources) -> dict:
    """``tasks`` in their order, and a row for each (model, pruner, pattern, budget, repair).

    A row's ``scores`` are, for each task, the values of ``SCORE``; its ``cells`` are positions in
    what :func:`cells` returns.
    """
    table, scores = sources.results.costs, sources.results.scores
    tasks = ["average", *(task for task in scores["task"].unique() if task != "average")]
    scored = {
        (tuple(row[key] for key in IDENTITY), row["task"]): [row[key] for key in SCORE]
        for row in plain(scores[[*IDENTITY, "task", *SCORE]])
    }
    numbers: dict[tuple, list[int]] = {}
    for number, (_, record) in enumerate(sources.records):
        identity = tuple(record["cell"][key] for key in IDENTITY)
        numbers.setdefault(identity, []).append(number)
    rows = []
    for row in plain(table):
        identity = tuple(row[key] for key in IDENTITY)
        missing = [None] * len(SCORE)
        ours = [scored.get((identity, task), missing) for task in tasks]
        achieved, asked = row["sparsity_achieved"], row["sparsity_requested"]
        status, _, reason = row["status"].partition(": ")
        rows.append(
            {
                **{key: row[key] for key in (*IDENTITY, "seeds", *COSTS)},
                "status": status,
                "reason": reason,
                "asked": asked,
                "achieved": achieved,
                "drifted": achieved is not None and abs(achieved - asked) > SPARSITY_TOLERANCE,
                "scores": ours,
                "cells": numbers.get(identity, []),
            }
        )
    return {"tasks": tasks, "rows": rows}


def cells(sources: Sources) -> dict:
    """``cells``, one a record, and the ``pool`` of what many of them share.

    A number in a cell's ``config`` and ``provenance`` is a position in the pool.
    """
    pool: dict[str, int] = {}

    def pooled(value) -> int:
        return pool.setdefault(json.dumps(value, sort_keys=True), len(pool))

    found = []
    for path, record in sources.records:
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
