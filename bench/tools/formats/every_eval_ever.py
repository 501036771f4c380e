"""Every Eval Ever: the shared schema of the EvalEval coalition, version 0.3.0.

One aggregate log a cell, in the layout of its datastore, for ``every_eval_ever validate``. Its rows
of single items need the texts of questions and answers, which records do not have: there are none.
"""

import json
import math
from datetime import datetime
from typing import Any
from uuid import UUID

from bench.cells import DENSE
from bench.evaluation.tasks import ANSWER_BPB, PERPLEXITY, UNFILTERED
from bench.origin import digest_of
from bench.records.samples import ANY, score_range
from bench.tools.formats.cell import (
    SUITE,
    Files,
    ScoredCell,
    metric_and_filter,
)

SCHEMA_VERSION = "0.3.0"
# What the schema demands and nobody said.
UNKNOWN = "unknown"
LIBRARY, ENGINE = "lm-eval", "transformers"


def every_eval_ever(cell: ScoredCell, at: datetime, organization: str | None) -> Files:
    """The log of a cell; the same record has the same file name."""
    model, retrieved = _model(cell, organization), str(int(at.timestamp()))
    owner, *rest = model["id"].split("/")
    results, left_out = [], []
    for entry in cell.metrics:
        # The schema demands the direction.
        if (more := cell.higher_is_better(entry)) is None:
            what = f"task {entry['task']}: {entry['metric']}"
            left_out.append(f"{what}: nobody says whether more of it is better")
        else:
            results.append(_result(cell, entry, more))
    log = {
        "schema_version": SCHEMA_VERSION,
        "evaluation_id": f"{SUITE}/{model['id'].replace('/', '_')}/{retrieved}",
        "retrieved_timestamp": retrieved,
        "source_metadata": {
            "source_name": SUITE,
            "source_type": "evaluation_run",
            "source_organization_name": organization or UNKNOWN,
            # Who evaluates a sparse model is who made it.
            "evaluator_relationship": "other" if _is_dense(cell) else "first_party",
        },
        "eval_library": _library(cell.record["provenance"]),
        "model_info": model,
        "evaluation_results": results,
    }
    identity = UUID(hex=digest_of(cell.record)[:32], version=4)
    path = f"data/{SUITE}/{owner}/{'_'.join(rest)}/{identity}.json"
    return Files({path: json.dumps(log, indent=2, allow_nan=False) + "\n"}, left_out)


def _is_dense(cell: ScoredCell) -> bool:
    return cell.record["cell"]["pruner"] == DENSE


def _model(cell: ScoredCell, organization: str | None) -> dict:
    packages, source = cell.record["provenance"]["packages"], cell.facts()["base_model_source"]
    name = cell.name.replace("/", "-")
    if _is_dense(cell) and source.get("repository"):
        identity, developer = source["repository"], source["repository"].partition("/")[0]
    else:
        developer = None if _is_dense(cell) else organization
        identity = f"{developer or SUITE}/{name}"
    return {
        "name": name,
        "id": identity,
        **({} if developer is None else {"developer": developer}),
        "inference_engine": _named(ENGINE, packages),
        "additional_details": {
            "deployment_type": "self_deployed",
            "model_availability": UNKNOWN,
            **_texts(cell.facts()),
        },
    }


def _named(package: str, packages: dict) -> dict:
    return {"name": package.replace("-", "_"), "version": packages.get(package, UNKNOWN)}


def _library(provenance: dict) -> dict:
    git, accelerator = provenance["git"] or {}, provenance["accelerator"] or {}
    details = {
        "suite": SUITE,
        "suite_commit": git.get("commit"),
        "suite_has_changes": git.get("dirty"),
        **{key: provenance[key] for key in ("python", "platform", "cpu", "threads")},
        "accelerator": accelerator.get("name"),
        **provenance["packages"],
    }
    return _named(LIBRARY, provenance["packages"]) | {"additional_details": _texts(details)}


def _result(cell: ScoredCell, entry: dict, more_is_better: bool) -> dict:
    uncertainty: dict[str, Any] = {"num_samples": entry["n"]}
    if entry.get("stderr") is not None:
        uncertainty = {"standard_error": {"value": entry["stderr"]}, **uncertainty}
    settings = {
        "num_fewshot": entry["few_shot"],
        "limit": "none" if entry["limit"] is None else entry["limit"],
        "task_version": entry["version"],
        **{key: entry.get(key) for key in ("context_length", "scoring", "tokens", "tasks")},
        "windows": cell.settings(entry["task"]).get("windows"),
    }
    return {
        "evaluation_result_id": f"{entry['task']}/{entry['metric']}",
        "evaluation_name": entry["task"],
        "source_data": _source(cell, entry["task"]),
        "metric_config": _metric(entry, more_is_better),
        "score_details": {"score": entry["value"], "uncertainty": uncertainty},
        "generation_config": {"additional_details": _texts(settings)},
    }


def _source(cell: ScoredCell, task: str) -> dict:
    """Of which data set items are; whose these are on the hub, a record does not say."""
    settings, manifests = cell.settings(task), cell.record["provenance"]["manifests"]
    data = settings.get("data")
    digests = manifests.get("tasks" if data is None else "sets", {})
    details = {
        "items_of": "lm-eval's own task" if data is None else "a data set of the configuration",
        "split": None if data is None else settings.get("split"),
        "revision": settings.get("revision"),
        "manifest": digests.get(data or task),
    }
    return {
        "dataset_name": data or task,
        "source_type": "other",
        "additional_details": _texts(details),
    }


def _metric(entry: dict, more_is_better: bool) -> dict:
    metric, kind = metric_and_filter(entry["metric"])
    bounds, config = score_range(entry["metric"]), {"metric_name": metric}
    if metric == ANSWER_BPB:
        config["evaluation_description"] = "bits per byte of the right answer, mean over items"
        config["metric_unit"] = "bits per byte"
    elif metric == PERPLEXITY and entry.get("tokens") is not None:
        config["evaluation_description"] = "perplexity per token of the model's tokenizer"
    elif bounds == (0, 1):
        config["metric_unit"] = "proportion"
    if kind != UNFILTERED:
        config["metric_parameters"] = {"filter": kind}
    config["lower_is_better"] = not more_is_better
    if bounds != ANY:
        low, high = ("Infinity" if bound == math.inf else bound for bound in bounds)
        config |= {"score_type": "continuous", "min_score": low, "max_score": high}
    return config


def _texts(values: dict) -> dict[str, str]:
    """The values that there are, all of them texts, as the schema wants details."""
    return {
        key: value if isinstance(value, str) else json.dumps(value)
        for key, value in values.items()
        if value is not None
    }
