"""Method cards: what each pruner and repair of the page is."""

import inspect
import re
import sys

import pandas as pd
from pydantic import BaseModel

from baselines.pruning import PRUNERS
from baselines.repair import REPAIRS
from bench.cells import DEFAULT_BUDGET, sender_of
from bench.config.variants import changes, method_of, shown, training_of
from bench.figures.style import in_order, swatch
from bench.records.rows import budget_tokens
from bench.report.sources import Sources


def cards(sources: Sources) -> list[dict]:
    """A card for each method that a record is of, pruners first.

    Each has ``kind``, ``name``, ``definition`` (one or two lines), ``paper``, ``options`` and, for
    a repair that trains, ``rates``: where its learning rate comes from.
    """
    records = list(sources.records.values())
    used = {record["cell"]["pruner"] for record in records}
    methods = {
        record["cell"]["repair"]: method_of(record["cell"]["repair"], record["config"]["resolved"])
        for record in records
    }
    return [
        *(_card("pruner", name, PRUNERS[name], records) for name in PRUNERS if name in used),
        *(
            _repair_card(name, methods[name], records, sources)
            for name in in_order(methods)
            if methods[name] in REPAIRS
        ),
    ]


def _repair_card(name: str, method: str, records: list[dict], sources: Sources) -> dict:
    """The card of a repair that is ``method``, or a variant of it."""
    card = _card("repair", name, REPAIRS[method], records)
    origin, own = sender_of(name)
    if name != method:
        _, changed = changes(records).get(name, ("", ""))
        about = f"A variant of {method}" if own != method else f"{method}, as {origin} ran it"
        about += f" ({changed})." if changed else "."
        card["definition"] = [about, card["definition"][0]]
    return card | {
        "swatch": swatch(sources.results.looks[name]),
        "rates": _rates(records, sources.tuning, name, training_of(method)),
    }


def _card(kind: str, name: str, method: type, records: list[dict]) -> dict:
    # A pruner is a model of its own options.
    options = method if kind == "pruner" else method.Options
    return {
        "kind": kind,
        "name": name,
        "definition": definition(method),
        "paper": method.paper,
        "link": _link(method.paper) if method.paper else None,
        "options": _options(kind, name, options, records),
    }


def definition(method: type) -> list[str]:
    """The first sentences of the method's module and class, as they say it."""
    documents = (sys.modules[method.__module__].__doc__, inspect.getdoc(method))
    return list(dict.fromkeys(_first_paragraph(text) for text in documents))


def _first_paragraph(text: str) -> str:
    paragraph = " ".join(text.strip().split("\n\n")[0].split())
    # What introduces a formula ends in a colon; the formula stays in the documentation.
    return re.sub(r"``?", "", paragraph).rstrip(":")


def _link(paper: str) -> str | None:
    found = re.search(r"arXiv (\d{4}\.\d{5})", paper)
    return f"https://arxiv.org/abs/{found[1]}" if found else None


def _options(kind: str, name: str, options: type[BaseModel], records: list[dict]) -> list[dict]:
    """Options with their descriptions, and the values that the records used."""
    section = "pruning" if kind == "pruner" else "repair"
    used = [
        record["config"]["resolved"].get(section) or {}
        for record in records
        if record["cell"][kind] == name
    ]
    fields = options.model_fields
    names = [option for option in fields if any(option in values for values in used)]
    return [
        {
            "name": option,
            "values": ", ".join(dict.fromkeys(shown(v[option]) for v in used if option in v)),
            "meaning": (fields[option].description or "").replace("`", ""),
        }
        for option in names
    ]


def _rates(records: list[dict], tuning: pd.DataFrame, name: str, training: str | None) -> list[str]:
    """For each model and budget, the learning rate, and where it comes from."""
    if training is None:
        return []
    # Of thousands of records few differ.
    found: dict[tuple, None] = {}
    for record in records:
        cell, resolved = record["cell"], record["config"]["resolved"]
        if cell["repair"] == name:
            nearest = tuple((resolved.get("learning_rate_from") or {}).items())
            rate, tokens = resolved["repair"]["learning_rate"], budget_tokens(record)
            found[cell["model"], cell["budget"], tokens, rate, nearest] = None
    lines = []
    submission, _ = sender_of(name)
    for model, budget, tokens, rate, nearest in found:
        if nearest:
            names = " and ".join(f"{other} ({near:g})" for other, near in nearest)
            why = f"interpolated between {names}" if len(nearest) > 1 else f"that of {names}"
        elif submission:
            why = "from the submission's configuration"
        else:
            why = _chosen(tuning, model, tokens, training, rate)
        at = "" if budget == DEFAULT_BUDGET else f" at {budget}"
        lines.append(f"{model}{at}: {rate:g}, {why}")
    return lines


def _chosen(tuning: pd.DataFrame, model: str, tokens: int, training: str, rate: float) -> str:
    if tuning.empty:
        return "from the configuration; no sweep is recorded"
    # A budget of the same name may be another one.
    trials = tuning[(tuning["model"] == model) & (tuning["tokens"] == tokens)]
    trials = trials[trials["repair"] == training]
    best = trials[trials["chosen"]]
    if best.empty:
        return (
            f"from the configuration; no sweep of {training} on this model with {tokens:,} tokens "
            "is recorded"
        )
    tried = ", ".join(f"{value:g}" for value in trials["learning_rate"])
    best = best.iloc[0]
    sweep = f"sweep of {training} on {best['pruner']} {best['pattern']}"
    if best["learning_rate"] != rate:
        return f"from the configuration; the recorded {sweep} chose {best['learning_rate']:g}"
    return (
        f"the lowest validation loss ({best['validation_loss']:.3f}, pruned model "
        f"{best['base_validation_loss']:.3f}) of {tried} in the {sweep}"
    )
