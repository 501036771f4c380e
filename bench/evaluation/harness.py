"""One task, or one group of tasks, loaded and scored with lm-eval."""

import json
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset
from jinja2.meta import find_undeclared_variables
from lm_eval.api.task import ConfigurableTask, Task
from lm_eval.evaluator import evaluate
from lm_eval.tasks._yaml_loader import load_yaml
from lm_eval.tasks.manager import TaskDict
from lm_eval.utils import env

from bench.data.forms import DataError
from bench.evaluation.answers import mean_bpb, options_of
from bench.evaluation.own import load_own
from bench.evaluation.packed import PackedLM
from bench.evaluation.tasks import (
    ANSWER_BPB,
    PERPLEXITY,
    ROLLING,
    TASKS_FOLDER,
    UNFILTERED,
    TaskSpec,
    is_fraction,
)

# lm-eval's own, so that the solved examples are those of numbers published with it.
FEW_SHOT_SEED = 1234
# What a definition fills in with fields of an item.
FILLED_IN = ("doc_to_text", "doc_to_target", "doc_to_choice", "gen_prefix")


class LocalTask(ConfigurableTask):
    """A task over given items: `datasets` reads no file and writes no cache."""

    def __init__(self, config: dict, items: list[dict]):
        self._items = items
        super().__init__(config=config)

    def download(self, dataset_kwargs=None):
        # Of fields that the first item lacks, a table would have none.
        fields = dict.fromkeys(field for item in self._items for field in item)
        columns = {field: [item.get(field) for item in self._items] for field in fields}
        self.dataset = {self.config.test_split: Dataset.from_dict(columns)}


def load_task(name: str, spec: TaskSpec, data: Path) -> TaskDict:
    """The task ``config/tasks/<name>.yaml`` over the items of a file, or lm-eval's own task or
    group over the data of a folder.

    Args:
        name: name of the task.
        spec: its settings.
        data: JSON lines, one item a line; or what :class:`bench.evaluation.own.LmEvalSource` made.

    Returns:
        The task, or the tasks and groups of a group, by name.

    Raises:
        DataError: there is no such task, or its settings do not fit it or its items.
    """
    if data.is_dir():
        loaded = load_own(name, data)
    else:
        loaded = {"tasks": {name: _local(name, data)}, "groups": {}}
    for label, task in loaded["tasks"].items():
        task.set_config("num_fewshot", spec.few_shot)
        task.set_fewshot_seed(FEW_SHOT_SEED)
        count = len(task.eval_docs)
        if spec.windows == "rolling" and spec.limit is not None and spec.limit > count:
            raise DataError(f"task {label}: limit = {spec.limit}: there are {count} items")
    metrics = list(_metrics(name, loaded))
    if spec.metric not in metrics:
        found = ", ".join(metrics) or "none: it has no average over all items that tables can show"
        raise DataError(f"task {name}: metric = {spec.metric!r}: allowed: {found}")
    return loaded


def own_facts(name: str, folder: Path) -> dict:
    """What a configuration can ask of a task or group of lm-eval's own: the metrics that tables can
    show, and how many items it has at most (of a group, the smallest of its tasks).

    Args:
        name: name of the task.
        folder: what :class:`bench.evaluation.own.LmEvalSource` made.
    """
    loaded = load_own(name, folder)
    return {
        "metrics": list(_metrics(name, loaded)),
        "items": min(len(task.eval_docs) for task in loaded["tasks"].values()),
    }


def score(
    lm: PackedLM, name: str, loaded: TaskDict, spec: TaskSpec
) -> tuple[list[dict], list[dict]]:
    """The rows of `bench.evaluation.Evaluation` that are of this task: metrics, and samples.

    Raises:
        DataError: the metric that tables show is no fraction of 1.
    """
    task, *others = loaded["tasks"].values()
    if spec.windows == "disjoint":
        values, items = score_windows(lm, list(map(task.doc_to_target, task.eval_docs)), spec)
    else:
        values, items = _score(lm, name, loaded, spec)
    if not _is_text(task):
        _check_fractions(name, spec.metric, values[spec.metric][0], items)
    group = loaded["groups"].get(name)
    shared = {
        "n": len(items),
        "tokens": sum(item["tokens"] for item in items) if _is_text(task) else None,
        "tasks": 1 + len(others),
        "version": task.VERSION if group is None else group.version,
        "few_shot": spec.few_shot,
        "limit": spec.limit,
        "context_length": lm.max_length,
        "scoring": lm.scoring,
        "data": spec.data,
        "revision": spec.revision,
    }
    metrics = [
        {"task": name, "metric": metric, "value": value, "stderr": stderr, **shared}
        for metric, (value, stderr) in values.items()
    ]
    return metrics, [{"task": name, **item} for item in items]


def _score(
    lm: PackedLM, name: str, loaded: TaskDict, spec: TaskSpec
) -> tuple[dict[str, tuple], list[dict]]:
    """Value and standard error of each metric, and the items with their own values."""
    results = evaluate(lm, loaded, limit=spec.limit, bootstrap_iters=1000)
    scores = results["results"][name]
    values = {}
    for metric, _, kind in (key.partition(",") for key in scores):
        if kind and not metric.endswith("_stderr"):
            stderr = scores[f"{metric}_stderr,{kind}"]
            values[_named(metric, kind)] = (
                scores[f"{metric},{kind}"],
                None if stderr == "N/A" else stderr,
            )
    items: dict[str, dict] = {}
    for label, task in loaded["tasks"].items():
        # An item has a sample a filter.
        for sample in results["samples"][label]:
            number = str(sample["doc_id"])
            key = number if label == name else f"{label}/{number}"
            if isinstance(task, LocalTask):
                key = sample["doc"].get("id", number)
            found = _of_text(lm, sample) if _is_text(task) else _of_question(task, sample)
            items.setdefault(key, {"id": key}).update(found)
    if _is_text(task):
        parts = [(item["log_likelihood"], item["tokens"]) for item in items.values()]
        values = {PERPLEXITY: perplexity(*zip(*parts, strict=True)), **values}
    elif all("right" in item for item in items.values()):
        values[ANSWER_BPB] = mean_bpb(list(items.values()))
    return values, list(items.values())


def _check_fractions(name: str, metric: str, value: float, items: list[dict]) -> None:
    """No definition says what a function of its own can return."""
    for found in (value, *(item[metric] for item in items if metric in item)):
        if not 0 <= found <= 1:
            raise DataError(
                f"task {name}: metric = {metric!r}: is {found:g}; allowed: one between 0 and 1"
            )


def _named(metric: str, kind: str) -> str:
    """A metric by the name that the configuration and the records have of it."""
    return metric if kind == UNFILTERED else f"{metric},{kind}"


def _metrics(name: str, loaded: TaskDict) -> Iterator[str]:
    """The metrics of a task that tables can show; of a group, those that it averages over all items
    of its tasks.
    """
    task, *_ = loaded["tasks"].values()
    if _is_text(task):
        if name not in loaded["groups"]:
            yield PERPLEXITY
        return
    metrics = [
        metric for metric, better in task.higher_is_better().items() if is_fraction(metric, better)
    ]
    if name in loaded["groups"]:
        averages = loaded["groups"][name].aggregate_metric_list or []
        averaged = {average.metric for average in averages if average.weight_by_size}
        metrics = [metric for metric in metrics if metric in averaged]
    for kind in task.config.filter_list or [{"name": UNFILTERED}]:
        yield from (_named(metric, kind["name"]) for metric in metrics)


def _is_text(task: Task) -> bool:
    return task.OUTPUT_TYPE == ROLLING


def _of_text(lm: PackedLM, sample: dict) -> dict:
    ((text,),) = sample["arguments"]
    ((log_likelihood,),) = sample["resps"]
    return {"log_likelihood": log_likelihood, "tokens": len(lm.encode_text(text))}


def _of_question(task: Task, sample: dict) -> dict:
    # Metrics that are of all items together, such as F1, have no value of one item.
    values = {
        _named(metric, sample["filter"]): float(sample[metric])
        for metric in sample["metrics"]
        if np.isscalar(sample[metric])
    }
    return values | (options_of(task, sample) if task.OUTPUT_TYPE == "multiple_choice" else {})


def _local(name: str, file: Path) -> Task:
    definition = TASKS_FOLDER / f"{name}.yaml"
    if not definition.exists():
        raise DataError(f"unknown task {name!r}: there is no {definition.name} in config/tasks")
    with file.open(encoding="utf-8") as lines:
        items = [json.loads(line) for line in lines]
    if not items:
        raise DataError(f"task {name}: no items in {file}")
    fields = ", ".join(items[0])
    try:
        task = LocalTask(load_yaml(definition), items)
    # lm-eval tries a definition on an item, and what it then raises has no base class.
    except Exception as error:
        reason = f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"
        raise DataError(
            f"task {name}: {definition} does not fit items with {fields}: {reason}"
        ) from error
    for key in ("doc_to_text", "doc_to_target"):
        value = getattr(task.config, key)
        # lm-eval takes a name that is no field for the text itself.
        if isinstance(value, str) and value.isidentifier() and value not in task.features:
            raise DataError(f"task {name}: {key} = {value!r}: allowed: a field of items: {fields}")
    _check_fields(name, task)
    _check_ids(name, task)
    return task


def _check_ids(name: str, task: Task) -> None:
    """Scores are kept by the id of an item, of which a ``process_docs`` may make several."""
    ids = Counter(item.get("id", number) for number, item in enumerate(task.eval_docs))
    identifier, times = ids.most_common(1)[0]
    if times > 1:
        raise DataError(
            f"task {name}: {times} items have the id {identifier!r}; allowed: each id once"
        )


def _check_fields(name: str, task: Task) -> None:
    """For what an item lacks and another one has, lm-eval writes the word None: a field, or an
    entry of one.
    """
    filled_in = (getattr(task.config, key) for key in FILLED_IN)
    templates = [template for template in filled_in if isinstance(template, str)]
    named = {field for text in templates for field in find_undeclared_variables(env.parse(text))}
    fields = [field for field in task.features if field in named.union(templates)]
    for number, item in enumerate(task.eval_docs):
        for field in fields:
            place = next(_missing(field, item[field]), None)
            if place is not None:
                raise DataError(
                    f"task {name}: item {item.get('id', number)!r}: {place}: missing; allowed: a "
                    f"value in each item, since the task names {field}"
                )


def _missing(place: str, value: Any) -> Iterator[str]:
    """The places of what is missing in a value: entries that other items have are None in it."""
    if value is None:
        yield place
    elif isinstance(value, dict):
        for key, part in value.items():
            yield from _missing(f"{place}.{key}", part)
    elif isinstance(value, list):
        for part in value:
            yield from _missing(f"{place}[]", part)


def perplexity(
    log_likelihoods: Sequence[float], tokens: Sequence[int]
) -> tuple[float, float | None]:
    """Perplexity a token over all texts, exp(-sum of log-likelihoods / sum of tokens).

    Args:
        log_likelihoods: of the texts, in nats.
        tokens: how many tokens each has.

    Returns:
        The perplexity and its standard error over texts, to first order: texts are drawn
        independently, their tokens are not. One text has no standard error.
    """
    n, total = len(tokens), sum(tokens)
    loss = -math.fsum(log_likelihoods) / total
    value = math.exp(loss)
    if n == 1:
        return value, None
    deviations = ((-ll - loss * k) ** 2 for ll, k in zip(log_likelihoods, tokens, strict=True))
    return value, value * math.sqrt(math.fsum(deviations) * n / (n - 1)) / total


def score_windows(
    lm: PackedLM, texts: Sequence[str], spec: TaskSpec
) -> tuple[dict[str, tuple], list[dict]]:
    """Perplexity as published with GPTQ, SparseGPT and Wanda.

    The texts are joined by blank lines, tokenized once with what the tokenizer puts before a text,
    and cut into windows of ``context_length`` tokens. A window is a sequence of its own: its first
    token is not predicted. Tokens that do not fill a window are not used.

    Args:
        lm: the model.
        texts: in their order.
        spec: ``context_length``, and the number of windows as ``limit``.

    Returns:
        Value and standard error over windows of each metric, and the windows as items.

    Raises:
        DataError: the texts have no, or fewer than ``limit``, windows.
    """
    ids, length = lm.tokenizer("\n\n".join(texts))["input_ids"], spec.context_length
    windows = [ids[start : start + length] for start in range(0, len(ids) - length + 1, length)]
    if len(windows) < (spec.limit or 1):
        raise DataError(
            f"limit = {spec.limit}, context_length = {length}: the text has {len(ids)} tokens, "
            f"which are {len(windows)} windows; allowed: at least one, and as many as there are"
        )
    windows = windows[: spec.limit]
    found = lm.loglikelihood_windows(windows)
    value = perplexity(found, [length - 1] * len(found))
    items = [
        {"id": str(number), "log_likelihood": log_likelihood, "tokens": length - 1}
        for number, log_likelihood in enumerate(found)
    ]
    return {PERPLEXITY: value}, items
