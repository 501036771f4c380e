"""One task, loaded and scored with lm-eval."""

import json
import math
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np
from datasets import Dataset
from lm_eval.api.task import ConfigurableTask, Task
from lm_eval.evaluator import evaluate
from lm_eval.tasks import TaskManager
from lm_eval.tasks._yaml_loader import load_yaml

from bench.evaluation.packed import PackedLM
from bench.evaluation.tasks import PERPLEXITY, TASKS_FOLDER, TaskSpec


class LocalTask(ConfigurableTask):
    """A task over given items: `datasets` reads no file and writes no cache."""

    def __init__(self, config: dict, items: list[dict]):
        self._items = items
        super().__init__(config=config)

    def download(self, dataset_kwargs=None):
        self.dataset = {self.config.test_split: Dataset.from_list(self._items)}


def load_task(name: str, spec: TaskSpec, file: Path | None, *, seed: int) -> Task:
    """The task ``config/tasks/<name>.yaml`` over the items of `file`, else lm-eval's own task.

    Args:
        name: name of the task.
        spec: its settings.
        file: JSON lines, one item a line; not used for a task of lm-eval's own.
        seed: of the draw of solved examples.

    Raises:
        ValueError: there is no such task, or its settings do not fit it or its items.
    """
    definition = TASKS_FOLDER / f"{name}.yaml"
    task = _local(name, definition, file) if definition.exists() else _registered(name)
    task.set_config("num_fewshot", spec.few_shot)
    task.set_fewshot_seed(seed)
    count = len(task.eval_docs)
    if spec.limit is not None and spec.limit > count:
        raise ValueError(f"task {name}: limit = {spec.limit}: there are {count} items")
    metrics = [*([PERPLEXITY] if _is_text(task) else []), *task.aggregation()]
    if spec.metric not in metrics:
        raise ValueError(f"task {name}: metric = {spec.metric!r}: it has {', '.join(metrics)}")
    return task


def score(lm: PackedLM, name: str, task: Task, spec: TaskSpec) -> tuple[list[dict], list[dict]]:
    """The rows of `bench.evaluation.Evaluation` that are of this task: metrics, and samples."""
    results = evaluate(lm, {"tasks": {name: task}}, limit=spec.limit, bootstrap_iters=1000)
    scores, samples = results["results"][name], results["samples"][name]
    # lm-eval's keys are "acc,none" and "acc_stderr,none", for the filter "none" of the answers.
    values = {
        metric: (scores[f"{metric},{kind}"], scores[f"{metric}_stderr,{kind}"])
        for metric, _, kind in (key.partition(",") for key in scores)
        if kind and not metric.endswith("_stderr")
    }
    items = [
        {
            "task": name,
            "id": sample["doc"].get("id", str(sample["doc_id"])),
            **(_of_text(lm, sample) if _is_text(task) else _of_question(sample)),
        }
        for sample in samples
    ]
    tokens = None
    if _is_text(task):
        counts = [item["tokens"] for item in items]
        tokens = sum(counts)
        values = {PERPLEXITY: perplexity([i["log_likelihood"] for i in items], counts), **values}
    shared = {
        "n": len(items),
        "tokens": tokens,
        "version": task.VERSION,
        "few_shot": spec.few_shot,
        "limit": spec.limit,
        "context_length": lm.max_length,
        "data": spec.data,
    }
    metrics = [
        {
            "task": name,
            "metric": metric,
            "value": value,
            "stderr": None if stderr == "N/A" else stderr,
            **shared,
        }
        for metric, (value, stderr) in values.items()
    ]
    return metrics, items


def perplexity(
    log_likelihoods: Sequence[float], tokens: Sequence[int]
) -> tuple[float, float | None]:
    """Perplexity a token over all documents, exp(-sum of log-likelihoods / sum of tokens).

    Args:
        log_likelihoods: of the documents, in nats.
        tokens: how many tokens each has.

    Returns:
        The perplexity and its standard error over documents, to first order: documents are drawn
        independently, their tokens are not. One document has no standard error.
    """
    n, total = len(tokens), sum(tokens)
    loss = -math.fsum(log_likelihoods) / total
    value = math.exp(loss)
    if n == 1:
        return value, None
    deviations = ((-ll - loss * k) ** 2 for ll, k in zip(log_likelihoods, tokens, strict=True))
    return value, value * math.sqrt(math.fsum(deviations) * n / (n - 1)) / total


def _is_text(task: Task) -> bool:
    return task.OUTPUT_TYPE == "loglikelihood_rolling"


def _of_text(lm: PackedLM, sample: dict) -> dict:
    ((text,),) = sample["arguments"]
    ((log_likelihood,),) = sample["resps"]
    return {"log_likelihood": log_likelihood, "tokens": len(lm.encode_text(text))}


def _of_question(sample: dict) -> dict:
    # Metrics that are of all items together, such as F1, have no value of one item.
    return {m: float(sample[m]) for m in sample["metrics"] if np.isscalar(sample[m])}


def _local(name: str, definition: Path, file: Path | None) -> Task:
    if file is None:
        raise ValueError(f"task {name}: data: missing; {definition.name} needs items")
    with Path(file).open(encoding="utf-8") as lines:
        items = [json.loads(line) for line in lines]
    if not items:
        raise ValueError(f"task {name}: no items in {file}")
    return LocalTask(load_yaml(definition), items)


@cache
def _registry() -> TaskManager:
    """lm-eval's own tasks: thousands of files, read once."""
    return TaskManager()


def _registered(name: str) -> Task:
    try:
        tasks = _registry().load([name])["tasks"]
    except KeyError:
        local = ", ".join(sorted(path.stem for path in TASKS_FOLDER.glob("*.yaml")))
        raise ValueError(f"unknown task {name!r}: none of lm-eval's and none of {local}") from None
    if list(tasks) != [name]:
        raise ValueError(f"task {name}: is a group of {len(tasks)} tasks; name them one by one")
    return tasks[name]
