"""Published numbers beside what was measured in the same setting."""

from collections.abc import Iterable
from pathlib import Path
from textwrap import indent
from typing import Annotated, Literal

import pandas as pd
from pydantic import BeforeValidator, Field, NonNegativeInt, PositiveInt, TypeAdapter

from baselines.problems import MisfitError, validated
from bench.cells import DEFAULT_BUDGET, DENSE, UNREPAIRED, Cell
from bench.evaluation.tasks import PERPLEXITY, TaskSpec
from bench.files import UnreadableError, read_csv
from bench.paths import ROOT
from bench.records.measures import KINDS, kind_of
from bench.records.rows import budgets, by_row, mean, score_metrics
from bench.typed import Strict

COLUMNS = ["model", "context", "data_set", "metric", "method", "pattern", "few_shot", "windows"]
COLUMNS += ["split"]
COLUMNS += ["published", "measured", "difference", "relative_difference", "tolerance", "verdict"]
COLUMNS += ["source"]
# Of the row of the tables that measures it, what the published number does not say, and its score.
MEASURED_BY = ["model_here", "pruner", "budget", "repair", "score"]
COLUMNS += MEASURED_BY
REFERENCES_FOLDER = ROOT / "config" / "references"


def _blank(value) -> object:
    return None if pd.isna(value) else value


class Published(Strict):
    """One published number; the columns are described in ``config/references/README.md``."""

    model: str
    context: Annotated[PositiveInt | None, BeforeValidator(_blank)]
    data_set: str
    metric: str
    method: str
    pattern: str
    few_shot: Annotated[NonNegativeInt | None, BeforeValidator(_blank)] = None
    windows: Annotated[Literal["disjoint", "rolling"] | None, BeforeValidator(_blank)] = None
    split: Annotated[str | None, BeforeValidator(_blank)] = None
    value: Annotated[float, Field(gt=0)]
    tolerance: Annotated[float, Field(gt=0)]
    source: str


PUBLISHED = TypeAdapter(Published)


def reference_files() -> list[Path]:
    """The CSV files of ``config/references``."""
    return sorted(REFERENCES_FOLDER.glob("*.csv"))


def read_references(paths: Iterable[str | Path]) -> list[Published]:
    """The published numbers of several CSV files.

    Raises:
        ValueError: with one line for each problem: file, line, column and what is allowed.
    """
    found: dict[tuple, Published] = {}
    problems = []
    for path in paths:
        try:
            rows = read_csv(path)
        except UnreadableError as error:
            problems.append(str(error))
            continue
        # The header is line 1.
        for line, row in enumerate(rows.to_dict("records"), start=2):
            try:
                number = validated(PUBLISHED, row)
            except MisfitError as error:
                problems.append(indent(str(error), f"{path}, line {line}: "))
                continue
            of = tuple(number.model_dump(exclude={"value", "tolerance"}).values())
            if of in found:
                problems.append(f"{path}, line {line}: there already; allowed: each number once")
            found[of] = number
    if problems:
        raise ValueError("\n".join(problems))
    return list(found.values())


def reproduction_table(references: Iterable[Published], records: list[dict]) -> pd.DataFrame:
    """One row a published number, whether it was measured or not.

    ``measured`` is the mean over seeds, of a repair at the largest budget; ``difference`` is it
    less the published number. ``verdict``: ``inside`` or ``outside`` of the tolerance, or ``not
    measured``. The last columns name the row and the score of the tables that it was measured by;
    ``score`` is missing where the tables show another metric of the task.
    """
    rows, largest = by_row(records), [DEFAULT_BUDGET, *budgets(records)][-1]
    names, shown = {row[0].lower(): row[0] for row in rows}, score_metrics(records)
    found = []
    for reference in references:
        cell = Cell(names.get(reference.model.lower(), ""), *_method(reference), 0, largest)
        values = _values(reference, rows.get(cell.row, []))
        measured = {"measured": mean(value for _, value in values)}
        if values:
            task, metric = values[0][0], reference.metric
            # Accuracies are called after the task.
            score = f"{task}_{metric}" if metric in KINDS else task
            score = score if shown.get(score) == metric else None
            by = (cell.model, cell.pruner, cell.budget, cell.repair, score)
            measured |= dict(zip(MEASURED_BY, by, strict=True))
        found.append(reference.model_dump() | measured)
    table = pd.DataFrame(found, columns=[*Published.model_fields, "measured", *MEASURED_BY])
    table = table.astype({"context": "Int64", "few_shot": "Int64", "measured": float})
    table = table.rename(columns={"value": "published"})
    table["difference"] = table["measured"] - table["published"]
    table["relative_difference"] = table["difference"] / table["published"]
    inside = table["relative_difference"].abs() <= table["tolerance"]
    table["verdict"] = inside.map({True: "inside", False: "outside"})
    table["verdict"] = table["verdict"].where(table["measured"].notna(), "not measured")
    return table[COLUMNS]


def _method(reference: Published) -> tuple[str, str, str]:
    """Pruner, pattern and repair of a published number."""
    pruner, _, repair = (part.strip() for part in reference.method.partition("+"))
    return pruner, DENSE if pruner == DENSE else reference.pattern, repair or UNREPAIRED


def _values(reference: Published, records: list[dict]) -> list[tuple[str, float]]:
    """What the seeds of a row scored in the setting of a published number, with the task's name.

    Of several tasks in that setting it is the first.
    """
    found = [
        (entry["task"], entry["value"] * kind_of(reference.metric).scale)
        for record in records
        for entry in record["metrics"]
        if reference.data_set in (entry["task"], entry.get("data"))
        and entry["metric"] == reference.metric
        and reference.context in (None, entry.get("context_length"))
        and entry["few_shot"] == (reference.few_shot or 0)
        and _is_cut_so(record, entry, reference)
        and entry.get("limit") is None
        and entry["value"] is not None
    ]
    return [(task, value) for task, value in found if task == found[0][0]]


def _is_cut_so(record: dict, entry: dict, reference: Published) -> bool:
    """Whether a score is of the split of a published number, and a perplexity of such windows.

    Tasks of lm-eval's own say of which split they are themselves.
    """
    settings = record["config"]["resolved"]["evaluation"]["tasks"].get(entry["task"], {})
    windows = settings.get("windows", TaskSpec.model_fields["windows"].default)
    if entry["metric"] != PERPLEXITY:
        windows = "disjoint"
    split = settings.get("split") if settings.get("data") is not None else None
    wanted = reference.windows or "disjoint"
    return windows == wanted and split in (None, reference.split or "test")
