"""The model card of an exported model: what was done to it, from its record alone."""

import math
import re
from collections.abc import Iterable

import pandas as pd
from huggingface_hub import EvalResult, ModelCard, ModelCardData

from baselines.pruning import PRUNERS
from baselines.repair import REPAIRS
from bench.cells import UNREPAIRED, suffix
from bench.config.variants import method_of, shown
from bench.records.measures import ACCURACY, device_of, kind_of
from bench.records.samples import score_range
from bench.report.methods import definition
from bench.tables.rendering import Sheet, escape_markdown, number, with_interval

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
IDENTIFYING = ("repository", "revision", "package", "version", "members", "file", "sha256")
PACKAGES = ("Python", "torch", "transformers", "peft", "lm-eval")
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
    """The card of the model of a sparse cell that was evaluated.

    ``storage`` is that of the weights beside it, a key of ``LOADING``.
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
        "How it was made": _list(_making(record)),
        "Sparsity": _sparsity(record["sparsity"]),
        "Scores": _scores(record),
        "Where the numbers come from": _list(_provenance(record)),
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
    source, trained = resolved["model"], record["stages"]["repair"]
    rows = {
        "base model": cell["model"],
        "its source": _source(source),
        "its licence": source.get("licence") or "not stated",
        "pruner": _method(cell["pruner"], PRUNERS.get(cell["pruner"])),
        "its options": _options(resolved["pruning"]),
        "pattern": cell["pattern"],
        "repair": _method(cell["repair"], REPAIRS.get(method_of(cell["repair"], resolved))),
    }
    if trained is not None:
        tokens, steps = number(trained["tokens"]), number(trained["steps"])
        rows |= {
            "the repair's options": _options(resolved["repair"]),
            "budget": f"{cell['budget']}: {tokens} tokens in {steps} steps",
            "trained parameters": number(trained["trainable_parameters"]),
            "seed": str(cell["seed"]),
        }
    return rows


def _source(source: dict) -> str:
    found = {key: source[key] for key in IDENTIFYING if source.get(key)}
    text = ", ".join([source["source"], *(f"{key} {shown(value)}" for key, value in found.items())])
    return f"{text}; de-quantised" if ".gguf" in text else text


def _options(options: dict) -> str:
    return ", ".join(f"{key}: {shown(value)}" for key, value in options.items()) or "none"


def _method(name: str, method: type | None) -> str:
    """A method's name, what it is in its own words, and its paper."""
    if method is None:
        return name
    paper = f" ({method.paper})" if method.paper else ""
    return f"{name}: {' '.join(definition(method))}{paper}"


def _sparsity(sparsity: dict) -> str:
    """Of all pruned layers, and of each kind of layer over the blocks."""
    layers = pd.Series(sparsity["layers"])
    kinds = layers.groupby(lambda name: name.rpartition(".")[2], sort=False)
    rows = kinds.agg(number="size", mean="mean", lowest="min", highest="max").map(number)
    rows = rows.rename_axis("layers").reset_index()
    caption = "Fraction of zeros of each kind of layer, over the decoder blocks."
    return (
        f"{number(sparsity['achieved'])} of all weights of the pruned layers are zero, measured on "
        f"this model; asked for: {number(sparsity['requested'])}.\n\n{_table(rows, caption)}"
    )


def _scores(record: dict) -> str:
    rows, tasks = [], record["config"]["resolved"]["evaluation"]["tasks"]
    for entry in _measured(record["metrics"]):
        # What a task is judged by is a perplexity or a fraction; the others may be of any unit.
        is_chief = tasks.get(entry["task"], {}).get("metric") == entry["metric"]
        is_fraction = score_range(entry["metric"]) == (0, 1)
        is_fraction |= is_chief and kind_of(entry["metric"]) is ACCURACY
        scale, error = ACCURACY.scale if is_fraction else 1, entry.get("stderr")
        value = entry["value"] * scale
        half = math.nan if error is None else error * scale
        rows.append(
            {
                "task": entry["task"],
                "metric": f"{entry['metric']}, %" if is_fraction else entry["metric"],
                "score": with_interval(value, value - half, value + half),
                "items": number(entry["n"]),
                "few-shot": number(entry["few_shot"]),
            }
        )
    return _table(
        pd.DataFrame(rows),
        "After ±: the standard error over items. Less is better of perplexities and of answer_bpb, "
        "bits per byte of the right answer.",
    )


def _measured(metrics: Iterable[dict]) -> list[dict]:
    return [entry for entry in metrics if entry["value"] is not None]


def _provenance(record: dict) -> dict[str, str]:
    stated = record["provenance"]
    git, versions = stated["git"], {"Python": stated["python"]} | stated["packages"]
    changed = ", with changes" if git and git["dirty"] else ""
    return {
        "commit of the benchmark": f"{git['commit']}{changed}" if git else "not known",
        "versions": ", ".join(f"{name} {versions[name]}" for name in PACKAGES if name in versions),
        "computed on": device_of(record),
        "dtype": stated["dtype"],
        "SHA-256 of the configuration": record["config"]["hash"],
    }


def _list(entries: dict[str, str]) -> str:
    return "\n".join(f"- {key}: {escape_markdown(value)}" for key, value in entries.items())


def _table(rows: pd.DataFrame, caption: str) -> str:
    return Sheet(rows, {}, caption, ("layers", "task", "metric")).markdown().rstrip()
