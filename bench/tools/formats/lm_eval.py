"""lm-eval's own files: what ``lm_eval --output_path OUT --log_samples`` leaves of a model.

A folder a cell, with ``results_<date>.json`` and a ``samples_<task>_<date>.jsonl`` a task, as
version 0.4.13 has them. A group of lm-eval's is one task, as in the configuration. The texts of
questions and answers, and the hashes of them, are not there: records have none.
"""

import json
import math
from datetime import datetime
from statistics import fmean
from typing import Any

from lm_eval.utils import sanitize_list, sanitize_model_name

from bench.evaluation.answers import answer_bpb
from bench.evaluation.tasks import ANSWER_BPB, PERPLEXITY, UNFILTERED
from bench.records.samples import ROUNDING
from bench.tools.formats.cell import (
    Files,
    ScoredCell,
    metric_and_filter,
)

# The name that lm-eval has for models of transformers.
MODEL = "hf"


def lm_eval(cell: ScoredCell, at: datetime, organization: str | None) -> Files:
    """The files of a cell, called after the time at which they are made, as lm-eval does."""
    folder = sanitize_model_name(cell.name)
    date = at.replace(tzinfo=None).isoformat().replace(":", "-")
    tasks: dict[str, list[dict]] = {}
    for entry in cell.metrics:
        tasks.setdefault(entry["task"], []).append(entry)
    results = _about(cell) | _results(cell, tasks)
    files = Files({f"{folder}/results_{date}.json": json.dumps(results, indent=2) + "\n"})
    for task, entries in tasks.items():
        rows = [
            json.dumps(row, ensure_ascii=False) + "\n"
            for number, item in enumerate(cell.samples.get(task, []))
            for row in _rows(number, item, entries)
        ]
        if rows:
            files.texts[f"{folder}/samples_{task}_{date}.jsonl"] = "".join(rows)
    return files


def _about(cell: ScoredCell) -> dict:
    """What lm-eval says of a model and of itself."""
    provenance = cell.record["provenance"]
    packages = provenance["packages"]
    known = {
        "config": {
            "model": MODEL,
            "model_args": {"pretrained": cell.name, **cell.facts()},
            "model_dtype": provenance["dtype"],
        },
        "git_hash": (provenance["git"] or {}).get("commit"),
        "transformers_version": packages.get("transformers"),
        "lm_eval_version": packages.get("lm-eval"),
        "model_source": MODEL,
        "model_name": cell.name,
        "model_name_sanitized": sanitize_model_name(cell.name),
    }
    return {key: value for key, value in known.items() if value is not None}


def _results(cell: ScoredCell, tasks: dict[str, list[dict]]) -> dict:
    return {
        "results": {task: _scores(entries) for task, entries in tasks.items()},
        "group_subtasks": {task: [] for task in tasks},
        "configs": {task: _config(cell, entries) for task, entries in tasks.items()},
        "versions": {task: entries[0]["version"] for task, entries in tasks.items()},
        "n-shot": {task: entries[0]["few_shot"] for task, entries in tasks.items()},
        "higher_is_better": {
            task: {
                _named(entry)[0]: known
                for entry in entries
                if (known := cell.higher_is_better(entry)) is not None
            }
            for task, entries in tasks.items()
        },
        "n-samples": {task: _counts(entries[0]) for task, entries in tasks.items()},
    }


def _named(entry: dict) -> tuple[str, str]:
    return metric_and_filter(entry["metric"])


def _scores(entries: list[dict]) -> dict:
    """Scores by metric and filter; ``N/A`` is lm-eval's word for no standard error."""
    task = entries[0]["task"]
    scores = {"name": task, "alias": task, "sample_len": entries[0]["n"]}
    for entry in entries:
        metric, kind = _named(entry)
        error = entry.get("stderr")
        scores[f"{metric},{kind}"] = entry["value"]
        scores[f"{metric}_stderr,{kind}"] = "N/A" if error is None else error
    return scores


def _counts(entry: dict) -> dict[str, int]:
    """How many items were scored, and of how many, where that is known."""
    whole = {} if entry["limit"] is not None else {"original": entry["n"]}
    return {**whole, "effective": entry["n"]}


def _config(cell: ScoredCell, entries: list[dict]) -> dict:
    """A task's settings; its ``metric_list`` has the metrics that its samples have."""
    task, version, few_shot = (entries[0][key] for key in ("task", "version", "few_shot"))
    settings, items = cell.settings(task), cell.samples.get(task, [])
    metrics = {}
    for entry in entries:
        values = [_value(item, entry["metric"]) for item in items]
        if values and None not in values:
            metric, _ = _named(entry)
            known = cell.higher_is_better(entry)
            metrics[metric] = {
                "metric": metric,
                **_aggregation(values, entry["value"]),
                **({} if known is None else {"higher_is_better": known}),
            }
    filters = {kind: None for _, kind in map(_named, entries) if kind != UNFILTERED}
    return {
        "task": task,
        **({"test_split": settings["split"]} if settings.get("data") is not None else {}),
        **_output_type(items),
        **({"filter_list": [{"name": kind} for kind in filters]} if filters else {}),
        "metric_list": list(metrics.values()),
        "num_fewshot": few_shot,
        "metadata": settings | {"version": version},
    }


def _output_type(items: list[dict]) -> dict[str, str]:
    """What lm-eval asked of the model, where the items tell."""
    kinds = {"log_likelihoods": "multiple_choice", "log_likelihood": "loglikelihood_rolling"}
    found = [kind for key, kind in kinds.items() if items and all(key in item for item in items)]
    return {"output_type": found[0]} if found else {}


def _aggregation(values: list, score: float) -> dict[str, str]:
    """How a score is made of those of items, where it can be told."""
    if isinstance(values[0], list):
        return {"aggregation": "weighted_perplexity"}
    is_mean = math.isclose(fmean(values), score, rel_tol=ROUNDING)
    return {"aggregation": "mean"} if is_mean else {}


def _value(item: dict, metric: str) -> Any:
    """An item's value of a metric, as lm-eval has it: of a perplexity, log-likelihood and weight;
    None where it has none.
    """
    if metric == ANSWER_BPB:
        return answer_bpb(item) if "right" in item else None
    if metric == PERPLEXITY and "tokens" in item:
        return [item["log_likelihood"], item["tokens"]]
    return item.get(metric)


def _rows(number: int, item: dict, entries: list[dict]) -> list[dict]:
    """What lm-eval logs of an item: a row a filter."""
    shared = {"doc_id": number, "doc": {"id": item["id"]}, **_answers(item)}
    found: dict[str, dict] = {}
    for entry in entries:
        metric, kind = _named(entry)
        value = _value(item, entry["metric"])
        values = found.setdefault(kind, {})
        if value is not None:
            values[metric] = value
    return [
        {**shared, "filter": kind, "metrics": list(values), **values}
        for kind, values in found.items()
    ]


def _answers(item: dict) -> dict:
    """What the model answered to each request; which of its arguments is right."""
    if "log_likelihoods" in item:
        answers = [[value] for value in item["log_likelihoods"]]
        right = item["right"]
        target = {"target": str(right[0] if len(right) == 1 else right)}
    elif "log_likelihood" in item:
        answers, target = [item["log_likelihood"]], {}
    else:
        return {}
    return {
        **target,
        "arguments": {f"gen_args_{number}": {} for number in range(len(answers))},
        "resps": sanitize_list([[answer] for answer in answers]),
        "filtered_resps": sanitize_list(answers),
    }
