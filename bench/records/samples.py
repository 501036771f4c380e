"""``samples.jsonl.gz``, beside each record: what the model scored on each item of each task."""

import math
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from bench.evaluation.answers import answer_bpb
from bench.evaluation.tasks import ANSWER_BPB, PERPLEXITY
from bench.files import UnreadableError, advising, read_json_lines
from bench.records.record import RETRY

SAMPLES_FILE = "samples.jsonl.gz"
# Sums in another order.
ROUNDING = 1e-9
ANY = (-math.inf, math.inf)
RANGES = dict.fromkeys(["acc", "acc_norm", "exact_match"], (0, 1)) | {ANSWER_BPB: (0, math.inf)}

Samples = dict[str, list[dict]]
"""Items by task, in the order of the file: ``id``, and what each scored."""


def read_samples(record_path: str | Path, record: dict) -> Samples | None:
    """The results item by item that lie beside a record, found to be what its metrics are of.

    None where there are none: the cell failed, or its record names no file.

    Args:
        record_path: of the record.
        record: what it holds.

    Raises:
        UnreadableError: the file is not there, is damaged, or does not fit the record.
    """
    if record["status"] != "ok" or not record["samples"]:
        return None
    path = Path(record_path).with_name(SAMPLES_FILE)
    with advising(RETRY):
        samples = parse_samples(path)
        problem = next(sample_problems(record, samples), None)
        if problem is not None:
            raise UnreadableError(path, f"does not fit its record: {problem}")
    return samples


def parse_samples(path: Path) -> Samples:
    """What a file of results item by item holds, whatever record it is of.

    Raises:
        UnreadableError: the file is not there, or is damaged.
    """
    samples = defaultdict(list)
    for row in read_json_lines(path):
        match row:
            case {"task": str(task), "id": str() | int()}:
                samples[task].append(row)
            case _:
                raise UnreadableError(path, "a line has no task or no id")
    return dict(samples)


def sample_problems(record: dict, samples: Samples) -> Iterator[str]:
    """How results item by item differ from their record: too few, twice, or another mean."""
    metrics = {(entry["task"], entry["metric"]): entry for entry in record["metrics"]}
    for task, settings in record["config"]["resolved"]["evaluation"]["tasks"].items():
        metric, items = settings["metric"], samples.get(task, [])
        entry = metrics.get((task, metric))
        if entry is None:
            yield f"metrics.{task}: missing; allowed: {metric}"
            continue
        if len(items) != entry["n"]:
            yield f"samples of {task}: {len(items)}; allowed: n = {entry['n']}"
        if len({item["id"] for item in items}) != len(items):
            yield f"samples of {task}: an id occurs twice; allowed: each once"
        if has_values(items, metric):
            yield from _value_problems(entry, items)
        for (of, other), beside in metrics.items():
            if of != task or other == metric:
                continue
            if beside["n"] != entry["n"]:
                yield f"metrics.{task}.{other}.n = {beside['n']}: allowed: {entry['n']}"
            # A group may weigh its tasks.
            is_mean = range_of(other) != ANY and entry.get("tasks", 1) == 1
            if other == ANSWER_BPB or (is_mean and has_values(items, other)):
                yield from _value_problems(beside, items, f".{other}")


def has_values(items: list[dict], metric: str) -> bool:
    """Whether the metric is one of items: F1, say, is of all of them together."""
    return metric == PERPLEXITY or any(metric in item for item in items)


def _value_problems(entry: dict, items: list[dict], label: str = "") -> Iterator[str]:
    task, metric, recorded = entry["task"], entry["metric"], entry["value"]
    try:
        value = _score(items, metric)
    except (LookupError, TypeError, ValueError, ArithmeticError) as error:
        yield f"samples of {task}: no {metric}: {type(error).__name__}: {error}"
        return
    if recorded is None or not math.isclose(value, recorded, rel_tol=ROUNDING):
        shown = "null" if recorded is None else f"{recorded:g}"
        yield f"metrics.{task}{label}.value = {shown}: its samples give {value:g}"


def _score(items: list[dict], metric: str) -> float:
    low, high = range_of(metric)
    totals, sizes = zip(*(item_score(item, metric) for item in items), strict=True)
    for total, size in zip(totals, sizes, strict=True):
        if size < 0 or not low <= total <= high:
            raise ValueError(f"{total} of {size}: allowed: {low} to {high}")
    mean = math.fsum(totals) / sum(sizes)
    return math.exp(mean) if metric == PERPLEXITY else mean


def item_score(item: dict, metric: str) -> tuple[float, float]:
    """An item's part of a total, and its size: a score is a sum of totals over one of sizes."""
    if metric == PERPLEXITY:
        return -item["log_likelihood"], item["tokens"]
    if metric == ANSWER_BPB:
        return answer_bpb(item), 1
    return item[metric], 1


def score_range(metric: str) -> tuple[float, float]:
    """The lowest and the highest value that a score can have."""
    return (1, math.inf) if metric.endswith(PERPLEXITY) else range_of(metric)


def range_of(metric: str) -> tuple[float, float]:
    """The lowest and the highest value that an item's part of a score can have."""
    return RANGES.get(metric.partition(",")[0], ANY)
