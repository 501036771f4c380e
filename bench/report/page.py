"""Builds the page."""

import base64
import gzip
import hashlib
import json
from functools import cache
from importlib.metadata import distribution
from pathlib import Path

import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from bench.cells import BASE, DEFAULT_BUDGET, UNREPAIRED, suffix
from bench.claims.verdicts import Verdict
from bench.figures import OF_BUDGETS, OF_MODEL, OF_PATTERN
from bench.figures.style import in_order, pattern_label, swatch
from bench.paths import ROOT
from bench.records.measures import chief_scores, machine_of
from bench.records.rows import SPARSITY_TOLERANCE
from bench.report.board import board, cells, pairs
from bench.report.methods import cards
from bench.report.sources import Sources, plain
from bench.report.summary import summary
from bench.tables.answer import MINUS
from bench.tables.table1 import caption

TEMPLATES = Path(__file__).parent / "templates"


def build_page(sources: Sources) -> str:
    """The page's HTML: complete in itself, equal for equal sources."""
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["label"] = pattern_label
    environment.filters["signed"] = lambda value: _number(value, "+.3g")
    environment.filters["short"] = lambda value: _number(value, ".3g")
    environment.filters["number"] = lambda value: _number(value, ",.6g")
    records = list(sources.records.values())
    results = sources.results
    trained = results.costs[results.costs["repair"] != UNREPAIRED]
    library = _datatables()
    script = (TEMPLATES / "page.js").read_text(encoding="utf-8")
    script = f'import DataTable from "{library["uri"]}";\n{script}'
    claims, reproduction = plain(sources.claims), plain(sources.reproduction)
    return environment.get_template("page.html.jinja").render(
        claims=claims,
        verdicts={v.value: sum(claim["verdict"] == v for claim in claims) for v in Verdict},
        summaries=[summary(sources, task) for task in chief_scores(results.scores)],
        keys=[key for key in BASE if trained[key].nunique() > 1],
        alike=_alike(trained),
        reproduction=reproduction,
        cards=cards(sources),
        submissions=sources.submissions,
        facts=_facts(records),
        protocol=caption(records),
        tolerance=SPARSITY_TOLERANCE,
        models=list(results.costs["model"].unique()),
        patterns=results.patterns,
        # By what stands for each in the names of figures.
        budgets={suffix(budget): budget for budget in results.budgets} or {"": DEFAULT_BUDGET},
        captions={name: _caption(name) for name in (*OF_BUDGETS, *OF_PATTERN, *OF_MODEL)},
        swatches={name: swatch(results.looks[name]) for name in in_order(results.costs["repair"])},
        payload={
            "board": packed(board(sources)),
            "cells": packed(cells(sources)),
            "comparisons": packed(pairs(sources)),
            "figures": packed(sources.figures),
        },
        datatables=library,
        # Of all scripts that a record might bring, the browser runs this one alone.
        digest=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        style=Markup((TEMPLATES / "style.css").read_text(encoding="utf-8")),
        script=Markup(script),
    )


def _alike(rows: pd.DataFrame) -> str:
    """What all repaired rows of the table have in common, which has no column."""
    shown = {
        "model": str,
        "pattern": pattern_label,
        "seeds": lambda seeds: "one seed a row" if seeds == 1 else f"{seeds} seeds a row",
    }
    alike = [show(rows[key].iloc[0]) for key, show in shown.items() if rows[key].nunique() == 1]
    return f"All rows: {', '.join(alike)}." if alike else ""


def _number(value: float | None, form: str) -> str:
    return "" if value is None else f"{value:{form}}".replace("-", MINUS)


def packed(value) -> str:
    """JSON, compressed, in base64: a large grid in a small page."""
    text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    return base64.b64encode(gzip.compress(text.encode(), mtime=0)).decode()


@cache
def _datatables() -> dict[str, str]:
    """The table library, DataTables, as a data URI: its bundle comes with the package itables."""
    package = distribution("itables")
    source = Path(package.locate_file("itables/html/dt_bundle.js")).read_bytes()
    return {
        "uri": f"data:text/javascript;base64,{base64.b64encode(source).decode()}",
        "version": package.version,
    }


def _caption(name: str) -> str:
    text = (ROOT / f"workflow/report/{name}.rst").read_text(encoding="utf-8")
    return " ".join(text.split())


def _facts(records: list[dict]) -> dict:
    """What all numbers of the page have in common, or do not."""
    provenance = [record["provenance"] for record in records]
    trained = [record["stages"]["repair"] or {} for record in records]
    computed = [*provenance, *filter(None, (costs.get("computed_on") for costs in trained))]

    def distinct(values) -> list:
        return sorted({value for value in values if value is not None})

    return {
        "models": distinct(
            f"{record['cell']['model']} from {model_origin(record['config']['resolved']['model'])}"
            for record in records
        ),
        "cells": len(records),
        "failed": sum(record["status"] != "ok" for record in records),
        "seeds": distinct(
            record["cell"]["seed"] for record in records if record["cell"]["repair"] != UNREPAIRED
        ),
        "commits": distinct(
            entry["git"]["commit"][:10] + (" with changes" if entry["git"]["dirty"] else "")
            for entry in provenance
            if entry.get("git")
        ),
        "packages": {
            name: distinct(entry["packages"].get(name) for entry in provenance)
            for name in ("torch", "transformers", "peft", "lm-eval")
        },
        "machines": distinct(map(machine_of, computed)),
        "dtypes": distinct(entry["dtype"] for entry in computed),
    }


def model_origin(source: dict) -> str:
    """The files, repository or folder that a model was made from; a GGUF file holds few bits."""
    files = source.get("members") or [source.get("repository") or source.get("path")]
    made = " and ".join(file for file in files if file) or source["source"]
    return f"{made}, de-quantised" if made.endswith(".gguf") else made
