"""Rows of the tables: records by what they are seeds of, in order, and the scores shown of them."""

from collections.abc import Iterable, Iterator, Mapping

from bench.cells import DENSE, IDENTITY, NO_BUDGET, place
from bench.config.variants import place_of
from bench.evaluation.tasks import ANSWER_BPB, PERPLEXITY
from bench.records.measures import ANSWERS, AVERAGE, kind_of

# Pruners round down in every row or block of a layer.
SPARSITY_TOLERANCE = 1 / 64


def ordered(records: list[dict]) -> list[dict]:
    """By model, dense first, pruner, pattern, tokens of the budget, repair and seed.

    Methods are in their registries' order; what is not trained comes before what is.
    """
    from baselines.pruning import PRUNERS

    pruners = [DENSE, *PRUNERS]

    def position(record: dict) -> tuple:
        cell = record["cell"]
        return (
            cell["model"],
            place(cell["pruner"], pruners),
            cell["pattern"],
            cell["budget"] != NO_BUDGET,
            budget_tokens(record),
            cell["budget"],
            place_of(cell["repair"]),
            cell["seed"],
        )

    return sorted(records, key=position)


def by_row(records: list[dict]) -> dict[tuple, list[dict]]:
    """The records of each row of the tables, in order."""
    rows: dict[tuple, list[dict]] = {}
    for record in ordered(records):
        rows.setdefault(tuple(record["cell"][key] for key in IDENTITY), []).append(record)
    return rows


def budget_tokens(record: dict) -> int:
    """Tokens of the cell's budget, whether its training went well or not; 0 where there is none."""
    training = record["config"]["resolved"].get("training")
    if record["cell"]["budget"] == NO_BUDGET or training is None:
        return 0
    batch = training["batch_size"] * training.get("gradient_accumulation", 1)
    return training["steps"] * batch * training["length"]


def budgets(records: list[dict]) -> list[str]:
    """The budgets of what was trained, from the smallest to the largest."""
    tokens = {record["cell"]["budget"]: budget_tokens(record) for record in records}
    return sorted(tokens.keys() - {NO_BUDGET}, key=lambda budget: (tokens[budget], budget))


def by_base(rows: Iterable[tuple]) -> dict[tuple, dict[str, tuple]]:
    """The rows that are compared with each other: those of each base at each budget, by repair.

    What is not trained is compared at each budget of its base.

    Args:
        rows: of the tables, in order.
    """
    found: dict[tuple, dict[str, tuple]] = {}
    for *base, budget, repair in rows:
        found.setdefault((*base, budget), {})[repair] = (*base, budget, repair)
    trained = {tuple(base) for *base, budget in found if budget != NO_BUDGET}
    return {
        (*base, budget): found.get((*base, NO_BUDGET), {}) | mine
        for (*base, budget), mine in found.items()
        if budget != NO_BUDGET or tuple(base) not in trained
    }


def task_settings(records: list[dict]) -> dict[str, dict]:
    """The settings of every task that a record was configured to be measured on."""
    settings: dict[str, dict] = {}
    for record in ordered(records):
        settings |= record["config"]["resolved"]["evaluation"]["tasks"]
    return settings


def score_parts(records: list[dict]) -> dict[str, list[str]]:
    """The scores in the order of the tables, and what each is the mean of.

    First the tasks, then their average; then the bits per byte of the right answer,
    ``answers_bpb``, and those of each task, ``<task>_answer_bpb``, where they were recorded; then
    the perplexities, ``<corpus>_perplexity``. A part is a task, for the metric that it is
    configured with, or the name of its bits per byte.
    """
    settings = task_settings(records)
    corpora = [name for name, task in settings.items() if task["metric"] == PERPLEXITY]
    tasks = [name for name in settings if name not in corpora]
    answered = {name for record in records for name in answered_tasks(record)}
    answers = [answer_part(name) for name in tasks if name in answered]
    return {
        **{name: [name] for name in tasks},
        **({AVERAGE: tasks} if tasks else {}),
        **({ANSWERS: answers} if answers else {}),
        **{name: [name] for name in answers},
        **{f"{name}_{PERPLEXITY}": [name] for name in corpora},
    }


def score_metrics(records: list[dict]) -> dict[str, str | None]:
    """The metric of each of the scores; of the average of several tasks, ``mean``."""
    settings = task_settings(records)
    return {
        name: "mean" if name == AVERAGE else part_metric(parts[0], settings)[1]
        for name, parts in score_parts(records).items()
    }


def answered_tasks(record: dict) -> Iterator[str]:
    """The tasks of which a record has the bits per byte of the right answer."""
    return (entry["task"] for entry in record["metrics"] if entry["metric"] == ANSWER_BPB)


def answer_part(task: str) -> str:
    """The name of a task's bits per byte of the right answer, beside its accuracy's."""
    return f"{task}_{ANSWER_BPB}"


def part_metric(part: str, settings: Mapping[str, dict]) -> tuple[str, str | None]:
    """The task and the metric of a part of a score; no metric of a task that there is not.

    Args:
        part: as in :func:`score_parts`.
        settings: of every task.
    """
    task = part.removesuffix(f"_{ANSWER_BPB}")
    if part not in settings and task in settings:
        return task, ANSWER_BPB
    return part, settings.get(part, {}).get("metric")


def shown_metric(record: dict, part: str) -> tuple[float | None, float | None]:
    """The score that tables show of a task, accuracy in percent, bits per byte or perplexity, and
    its standard error over items; None if missing.
    """
    task, metric = part_metric(part, record["config"]["resolved"]["evaluation"]["tasks"])
    for entry in record["metrics"]:
        if entry["task"] == task and entry["metric"] == metric and entry["value"] is not None:
            scale, stderr = kind_of(metric).scale, entry.get("stderr")
            return entry["value"] * scale, None if stderr is None else stderr * scale
    return None, None


def shown_value(record: dict, part: str) -> float | None:
    """The score that tables show of a task, as :func:`shown_metric` gives it."""
    return shown_metric(record, part)[0]


def shown_score(record: dict, parts: list[str]) -> float | None:
    """The mean of the tasks' scores; None if one is missing, as it would be of other tasks."""
    values = [shown_value(record, part) for part in parts]
    return None if None in values else sum(values) / len(values)


def is_sparse(records: list[dict]) -> bool:
    """Whether every seed that was evaluated is as sparse as was asked."""
    return all(
        record["sparsity"]["achieved"] >= record["sparsity"]["requested"] - SPARSITY_TOLERANCE
        for record in records
        if record["sparsity"]["achieved"] is not None
    )


def mean(values) -> float | None:
    """The mean of those values that are not missing."""
    present = [value for value in values if value is not None]
    return sum(present) / len(present) if present else None
