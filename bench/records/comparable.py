"""What records of one table must have in common: what is compared must be comparable."""

from collections.abc import Hashable, Iterator, Mapping
from typing import Any

from bench.config.training import LENGTHS
from bench.evaluation.tasks import PERPLEXITY
from bench.origin import first_difference
from bench.records.measures import computer
from bench.records.record import ORIGIN


def differences(records: Mapping[str, dict]) -> Iterator[tuple[str, str]]:
    """Where records differ that would be in one table: the name of a record, and what differs.

    Args:
        records: by names for the lines.
    """
    first: dict[tuple, tuple[str, Any]] = {}
    for name, record in records.items():
        for scope, key, value in _facts(record):
            other, expected = first.setdefault((scope, key), (name, value))
            difference = first_difference(value, expected, key)
            if difference is not None:
                what, found, wanted = difference
                yield name, f"{what} = {found}, but {wanted} in {other}"


def _facts(record: dict) -> Iterator[tuple[Hashable, str, Any]]:
    """Scope, key and value of all that must be the same within the scope.

    Models may have contexts of their own, and no text that needs more; methods have options of
    their own, at each budget; machines may differ, and with them how many tokens a forward pass
    scores.
    """
    cell, resolved = record["cell"], record["config"]["resolved"]
    model, budget = cell["model"], cell["budget"]
    evaluation = resolved["evaluation"]
    lengths = {
        name: {"context_length": task.get("context_length")}
        for name, task in evaluation["tasks"].items()
    }
    yield model, "config.resolved.evaluation.tasks", lengths
    # Means are over all tasks but texts: one more, of any model, would leave all others without.
    averaged = {
        name: {} for name, task in evaluation["tasks"].items() if task["metric"] != PERPLEXITY
    }
    yield "", "config.resolved.evaluation.tasks", averaged
    for name, task in evaluation["tasks"].items():
        shared = {key: value for key, value in task.items() if key != "context_length"}
        yield "", f"config.resolved.evaluation.tasks.{name}", shared
    # A task that was defined anew has another version.
    for task, version in {m["task"]: m["version"] for m in record["metrics"]}.items():
        yield "", f"metrics.{task}.version", version
    if "calibration" in resolved:
        yield "", "config.resolved.calibration", resolved["calibration"]
    if "training" in resolved:
        for of_budget, scope in ((True, budget), (False, "")):
            training = resolved["training"].items()
            part = {key: value for key, value in training if (key in LENGTHS) == of_budget}
            yield scope, "config.resolved.training", part
    for name, method in {"pruning": (cell["pruner"],), "repair": (cell["repair"], budget)}.items():
        if resolved.get(name) is not None:
            yield method, f"config.resolved.{name}", resolved[name]
    manifests = record["provenance"]["manifests"]
    yield model, "provenance.manifests.model", manifests["model"]
    for entry, digest in manifests.get("tasks", {}).items():
        yield "", f"provenance.manifests.tasks.{entry}", digest
    # That of all data changes with sets that this cell does not read: where it says no more, which
    # is then so of all records.
    yield model, "provenance.manifests.data", None if "sets" in manifests else manifests["data"]
    if "sets" in manifests:
        measured = {task.get("data") for task in evaluation["tasks"].values()} - {None}
        for name in sorted(measured | manifests["sets"].keys()):
            yield "", f"provenance.manifests.sets.{name}", manifests["sets"].get(name)
    identities = (record.get("inputs") or {}).get("identities", {})
    # Another machine rounds otherwise, and prunes a base of its own.
    base = (record[ORIGIN], computer(record["provenance"]), model, cell["pruner"], cell["pattern"])
    for name, scope in {"calibration": model, "base": base, "blocks": (model, budget)}.items():
        if identities.get(name) is not None:
            yield scope, f"inputs.identities.{name}", identities[name]
    order = (record["stages"]["repair"] or {}).get("batch_order")
    if order is not None:
        yield (model, budget, cell["seed"]), "stages.repair.batch_order", order
