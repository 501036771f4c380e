"""The hub's ``.eval_results/*.yaml``: scores on its benchmarks, for a model's repository.

A score belongs to a benchmark of the hub if it is of that benchmark's data, and of all of it. That
can be said of tasks of lm-eval's own alone: a data set of the configuration is a selection.
"""

from datetime import datetime

import yaml
from huggingface_hub import EvalResultEntry, eval_result_entries_to_yaml

from bench.records.rows import shown_value
from bench.tools.formats.cell import Files, ScoredCell

BENCHMARKS = {
    "gsm8k": ("openai/gsm8k", "gsm8k"),
    "mmlu_pro": ("TIGER-Lab/MMLU-Pro", "mmlu_pro"),
}
"""Data set and id of the task on the hub, by the name of lm-eval's own task over the same data."""
NOTED = ("base_model", "pruner", "pattern", "repair", "budget", "seed", "sparsity_achieved")


def eval_results(cell: ScoredCell, at: datetime, organization: str | None) -> Files:
    """A file a benchmark, in a folder a cell: what its model's repository would hold.

    Values are as in the tables: accuracies in percent.
    """
    made = Files()
    for task in cell.record["config"]["resolved"]["evaluation"]["tasks"]:
        problem = _problem(cell, task)
        if problem is not None:
            made.left_out.append(f"task {task}: {problem}")
            continue
        entries = eval_result_entries_to_yaml([_entry(cell, task)])
        path = f"{cell.name}/.eval_results/{task}.yaml"
        made.texts[path] = yaml.safe_dump(entries, sort_keys=False, allow_unicode=True)
    return made


def _problem(cell: ScoredCell, task: str) -> str | None:
    """Why a task's score is none of a benchmark of the hub; None if it is."""
    settings = cell.settings(task)
    if settings.get("data") is not None:
        return f"data = {settings['data']!r}: none of a benchmark of the hub"
    if task not in BENCHMARKS:
        return f"no benchmark of the hub is known for it; known: {', '.join(BENCHMARKS)}"
    if settings["limit"] is not None:
        return f"limit = {settings['limit']}: a part of the benchmark is not its score"
    if shown_value(cell.record, task) is None:
        return f"no {settings['metric']}"
    return None


def _entry(cell: ScoredCell, task: str) -> EvalResultEntry:
    dataset, benchmark = BENCHMARKS[task]
    facts, settings = cell.facts(), cell.settings(task)
    version = cell.record["provenance"]["packages"].get("lm-eval")
    notes = [
        ", ".join(f"{key} {facts[key]}" for key in NOTED if key in facts),
        f"{settings['metric']}, {settings.get('few_shot', 0)}-shot",
        *([] if version is None else [f"lm-eval {version}"]),
    ]
    return EvalResultEntry(
        dataset_id=dataset,
        task_id=benchmark,
        value=shown_value(cell.record, task),
        dataset_revision=settings.get("revision"),
        notes="; ".join(notes),
    )
