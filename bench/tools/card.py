"""The model card of an exported model: what was done to it, from its record alone."""

import re
from collections.abc import Iterable

import pandas as pd
from huggingface_hub import EvalResult, ModelCard, ModelCardData

from baselines.pruning import PRUNERS
from baselines.repair import REPAIRS
from bench.cells import UNREPAIRED, suffix
from bench.config.variants import method_of
from bench.records.measures import ACCURACY, kind_of
from bench.report.methods import definition
from bench.report.page import model_origin
from bench.tables.rendering import Sheet, number, with_interval

# Those of models' licences that the hub knows by name; any other is "other", with its name.
LICENCES = {
    "apache-2.0",
    "bigscience-bloom-rail-1.0",
    "bigscience-openrail-m",
    "bsd-3-clause",
    "cc-by-4.0",
    "cc-by-nc-4.0",
    "cc-by-nc-sa-4.0",
    "cc-by-sa-4.0",
    "cc0-1.0",
    "gemma",
    "llama2",
    "mit",
    "openrail",
}
# What says which model a source is; the path of one on somebody's disk says nothing to others.
IDENTIFYING = ("repository", "revision", "package", "version", "file", "sha256", "architecture")
PACKAGES = ("torch", "transformers", "peft", "lm-eval")
LOADING = {
    "dense": """\
from transformers import AutoModelForCausalLM, AutoTokenizer

model = AutoModelForCausalLM.from_pretrained("path/to/this/folder")
tokenizer = AutoTokenizer.from_pretrained("path/to/this/folder")
""",
    "bitmask": """\
from seft.storage.files import load_bitmask
from transformers import AutoTokenizer

model = load_bitmask("path/to/this/folder")
tokenizer = AutoTokenizer.from_pretrained("path/to/this/folder")
""",
}
ABOUT_LOADING = {
    "dense": "The zeros are stored as zeros: it is a plain model, as large as the dense one.",
    "bitmask": (
        "Each sparse matrix is stored as a bit mask and the values under it. `seft` is the library "
        "of the sparse repair benchmark (`pip install .` in its checkout); what it loads is the "
        "plain model, bit for bit."
    ),
}


def model_card(record: dict, storage: str) -> ModelCard:
    """The card of a cell's model.

    Args:
        record: of a sparse cell that was evaluated.
        storage: of the weights beside it, a key of ``LOADING``.
    """
    cell = record["cell"]
    done = f"pruned by {cell['pruner']} to the pattern {cell['pattern']}"
    if cell["repair"] != UNREPAIRED:
        done += f", repaired by {cell['repair']}"
    about = (
        f"{cell['model']}, {done}. One cell of the sparse repair benchmark, from whose record "
        "every number here is."
    )
    sections = {
        "How to load it": f"```python\n{LOADING[storage]}```\n\n{ABOUT_LOADING[storage]}",
        "How it was made": _table(_making(record), "What was done, in this order."),
        "Sparsity": _sparsity(record["sparsity"]),
        "Scores": _scores(record["metrics"]),
        "Where the numbers come from": _table(
            _provenance(record), f"SHA-256 of the configuration: {record['config']['hash']}."
        ),
    }
    parts = [f"## {heading}\n\n{text}" for heading, text in sections.items()]
    text = "\n\n".join([f"# {_name(record)}", about, *parts])
    return ModelCard(f"---\n{_metadata(record).to_yaml()}\n---\n\n{text}\n")


def _name(record: dict) -> str:
    cell = record["cell"]
    repair = f"{cell['repair']}{suffix(cell['budget'])}"
    return f"{cell['model']}-{cell['pruner']}-{cell['pattern']}-{repair}-seed{cell['seed']}"


def _metadata(record: dict) -> ModelCardData:
    """What the hub reads."""
    cell, source = record["cell"], record["config"]["resolved"]["model"]
    of_repair = [] if cell["repair"] == UNREPAIRED else [cell["repair"]]
    results = [
        EvalResult(
            task_type="text-generation",
            dataset_type=entry["task"],
            dataset_name=entry["task"],
            dataset_args={"few_shot": entry["few_shot"], "items": entry["n"]},
            metric_type=entry["metric"],
            metric_value=entry["value"],
        )
        for entry in _measured(record["metrics"])
    ]
    return ModelCardData(
        **_licence(source.get("licence")),
        base_model=source.get("repository"),
        library_name="transformers",
        pipeline_tag="text-generation",
        tags=["pruning", "sparsity", cell["pruner"], cell["pattern"], *of_repair],
        model_name=_name(record),
        eval_results=results or None,
    )


def _licence(stated: str | None) -> dict[str, str]:
    """The base model's licence, which binds what is made of it, as the hub names it."""
    if stated is None:
        return {"license": "unknown"}
    known = stated.lower()
    if known in LICENCES:
        return {"license": known}
    return {"license": "other", "license_name": re.sub(r"[^a-z0-9.]+", "-", known).strip("-")}


def _making(record: dict) -> dict[str, str]:
    cell, resolved = record["cell"], record["config"]["resolved"]
    source = resolved["model"]
    identified = [f"{key} {source[key]}" for key in IDENTIFYING if source.get(key)]
    own = source["source"] == "path"
    rows = {
        "base model": cell["model"] if own else f"{cell['model']}, of {model_origin(source)}",
        "its source": ", ".join([source["source"], *identified]),
        "its licence": source.get("licence") or "not stated",
        "pruner": _method(cell["pruner"], PRUNERS.get(cell["pruner"])),
        "pattern": f"{cell['pattern']}: {number(record['sparsity']['requested'])} of each layer",
        "repair": _method(cell["repair"], REPAIRS.get(method_of(cell["repair"], resolved))),
    }
    trained = record["stages"]["repair"]
    if trained is not None:
        rows |= {
            "budget": f"{cell['budget']}: {number(trained['tokens'])} tokens in "
            f"{number(trained['steps'])} steps",
            "trained parameters": number(trained["trainable_parameters"]),
            "seed": str(cell["seed"]),
        }
    return rows


def _method(name: str, method: type | None) -> str:
    """A method's name, what it is in its own words, and its paper."""
    if method is None:
        return name
    paper = f" ({method.paper})" if method.paper else ""
    return f"{name}: {' '.join(definition(method))}{paper}"


def _sparsity(sparsity: dict) -> str:
    """Of all pruned layers, and of each kind of layer over the blocks."""
    kinds: dict[str, list[float]] = {}
    for layer, fraction in sparsity["layers"].items():
        kinds.setdefault(layer.rpartition(".")[2], []).append(fraction)
    rows = [
        {
            "layers": kind,
            "number": number(len(fractions)),
            "mean": number(sum(fractions) / len(fractions)),
            "lowest": number(min(fractions)),
            "highest": number(max(fractions)),
        }
        for kind, fractions in kinds.items()
    ]
    caption = "Fraction of zeros of each kind of layer, over the decoder blocks."
    return (
        f"{number(sparsity['achieved'])} of all weights of the pruned layers are zero, measured on "
        f"this model; asked for: {number(sparsity['requested'])}.\n\n{_sheet(rows, caption)}"
    )


def _scores(metrics: list[dict]) -> str:
    rows = []
    for entry in _measured(metrics):
        kind, error = kind_of(entry["metric"]), entry.get("stderr")
        value = entry["value"] * kind.scale
        half = None if error is None else error * kind.scale
        ends = (None, None) if half is None else (value - half, value + half)
        rows.append(
            {
                "task": entry["task"],
                "metric": f"{entry['metric']}, %" if kind is ACCURACY else entry["metric"],
                "score": with_interval(value, *ends),
                "items": number(entry["n"]),
                "few-shot": number(entry["few_shot"]),
            }
        )
    return _sheet(rows, "After ±: the standard error over items.")


def _measured(metrics: Iterable[dict]) -> list[dict]:
    return [entry for entry in metrics if entry["value"] is not None]


def _provenance(record: dict) -> dict[str, str]:
    stated = record["provenance"]
    git = stated["git"]
    changed = " with changes" if git and git["dirty"] else ""
    return {
        "commit of the benchmark": f"{git['commit']}{changed}" if git else "not known",
        "versions": ", ".join(
            [f"Python {stated['python']}"]
            + [
                f"{name} {stated['packages'][name]}"
                for name in PACKAGES
                if stated["packages"].get(name)
            ]
        ),
        "computed on": (stated["accelerator"] or {}).get("name") or stated["cpu"],
        "dtype": stated["dtype"],
    }


def _table(rows: dict[str, str], caption: str) -> str:
    return _sheet([{"what": key, "value": value} for key, value in rows.items()], caption)


def _sheet(rows: list[dict], caption: str) -> str:
    """A table whose first column says what a row is; all but numbers are text."""
    frame = pd.DataFrame(rows)
    return Sheet(frame, {}, caption, [*frame.columns[:2]]).markdown().rstrip()
