"""Which tasks there are, and the settings of one."""

import re
from collections.abc import Iterator
from functools import cache, partial
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import (
    BaseModel,
    Field,
    NonNegativeInt,
    PositiveInt,
    StrictBool,
    model_validator,
)

from bench.documents import read_keys
from bench.files import UnreadableError
from bench.paths import ROOT
from bench.typed import Commit, Length, Strict, read_as

PERPLEXITY = "perplexity"
# Of every multiple-choice task, beside the metric that it is configured with.
ANSWER_BPB = "answer_bpb"
# lm-eval's name of the kind of task that is the likelihood of whole texts.
ROLLING = "loglikelihood_rolling"
# Metrics of lm-eval's of which more is better, and which may be below 0 or above 1.
NO_FRACTIONS = frozenset(["bleu", "bypass", "chrf", "chrf++", "mcc"])
# lm-eval's name of the filter of a task that has none.
UNFILTERED = "none"
# Beside the data of a task of lm-eval's own, and none of them: what a configuration can ask of it.
FACTS = ".facts.json"
# Items of tasks of lm-eval's own.
ITEMS = {
    "arc_challenge": 1172,
    "arc_easy": 2376,
    "boolq": 3270,
    "gsm8k": 1319,
    "hellaswag": 10042,
    "mmlu": 14042,
    "openbookqa": 500,
    "piqa": 1838,
    "rte": 277,
    "winogrande": 1267,
}
# Tasks of groups of lm-eval's own.
GROUPS = {"mmlu": 57}
# Items of ours, and windows of a text.
OWN_ITEMS = {
    "science": 250,
    "social_iqa": 1935,
    "wiki": 48,
    "wikitext2_2048": 166,
    "wikitext2_4096": 83,
    "winogrande": 6948,
}
# Of another one; and tokens of an item with its answers: of lm-eval's own, and of ours.
OTHER_ITEMS, TOKENS, OWN_TOKENS = 1000, 120, 25
TASKS_FOLDER = ROOT / "config" / "tasks"


class TaskSpec(Strict):
    """Settings of one task; its prompt and its metrics are in ``config/tasks/<task>.yaml``, or
    lm-eval's.
    """

    data: str | None = Field(
        default=None,
        description="Name of an entry of `data`. Null: a task, or a group of tasks, of lm-eval's "
        "own, with its own data.",
    )
    split: str = Field(default="test", description="Which of its splits.")
    revision: Commit | None = Field(
        default=None,
        description="Of a task of lm-eval's own: the commit of its data on the hub. Null: the "
        "latest.",
    )
    metric: str = Field(
        description="The metric that tables show: of texts `perplexity` (a token); of other tasks "
        "`acc`, `acc_norm` (by the length of the answer), or another that the task has, between 0 "
        "and 1 and the more the better, since it is shown and averaged as an accuracy; where the "
        "task filters its answers, metric and filter: `exact_match,strict-match`."
    )
    limit: PositiveInt | None = Field(
        default=None,
        description="Only the first items of the split; of a group, of each of its tasks. Null: "
        "all.",
    )
    few_shot: NonNegativeInt = Field(
        default=0,
        description="Solved examples before each question, drawn from the same split; by a task of "
        "lm-eval's own, as it is defined.",
    )
    context_length: Length | None = Field(
        default=None,
        description="Tokens that the model sees at most: a longer prompt loses its beginning, and "
        "perplexity is measured in windows of this length. Null, not for perplexity: the model's "
        "own limit.",
    )
    windows: Literal["rolling", "disjoint"] = Field(
        default="rolling",
        description="Of perplexity. `rolling`: every token of a text is predicted once. "
        "`disjoint`: as GPTQ, SparseGPT and Wanda publish it, the split's texts are cut into whole "
        "windows; the first token of each is not predicted, what is left over is not used.",
    )

    @model_validator(mode="after")
    def _settings_fit_each_other(self):
        if self.data is not None and self.revision is not None:
            raise ValueError(
                f"revision = {self.revision!r}: only of a task of lm-eval's own; that of "
                f"{self.data!r} is in its source"
            )
        if self.metric == PERPLEXITY:
            # The limits of today's models, up to 131072 tokens, are no protocol.
            if self.context_length is None:
                raise ValueError("context_length: missing; perplexity depends on it")
            if self.few_shot:
                raise ValueError(f"few_shot = {self.few_shot}: perplexity is of text alone; 0")
        elif self.windows != "rolling":
            raise ValueError(f"windows = {self.windows!r}: only of the metric {PERPLEXITY!r}")
        return self

    def tokens(self, name: str, items: int | None = None) -> int:
        """About how many tokens the task ``name`` takes; of a text at most, for want of its length.

        Args:
            name: of the task.
            items: how many there are, where that is known.
        """
        known, length = (ITEMS, TOKENS) if self.data is None else (OWN_ITEMS, OWN_TOKENS)
        if self.metric == PERPLEXITY:
            length = self.context_length
        limited = self.limit and self.limit * GROUPS.get(name, 1)
        items = items or limited or known.get(name, OTHER_ITEMS)
        return items * length * (1 + self.few_shot)

    def items(self, name: str, resources: Path) -> Path:
        """Where the items of the task ``name`` lie below the folder of all that was fetched."""
        if self.data is None:
            return resources / "tasks" / name
        return resources / "data" / self.data / f"{self.split}.jsonl"


def local_tasks() -> list[str]:
    """The names of the tasks that are defined in ``config/tasks``."""
    return sorted(path.stem for path in TASKS_FOLDER.glob("*.yaml"))


@cache
def own_tasks() -> frozenset[str]:
    """The names of the tasks and groups that the files of lm-eval define.

    Its own index, which has tags too, takes half a minute to make.
    """
    folder = Path(find_spec("lm_eval").origin).parent / "tasks"
    defined = re.compile(
        r"""^['"]?(?:task|group)['"]?: *['"]?(.+?)['"]? *(?:#.*)?$""", re.MULTILINE
    )
    files = folder.rglob("*.yaml")
    return frozenset(name for file in files for name in defined.findall(file.read_text("utf-8")))


def is_fraction(metric: str, higher_is_better: bool | None) -> bool:
    """Whether tables can show and average a metric as an accuracy.

    Args:
        metric: its name.
        higher_is_better: as its task defines it; None where that leaves it to lm-eval.
    """
    if higher_is_better is None:
        from lm_eval.api.registry import is_higher_better

        higher_is_better = is_higher_better(metric)
    return bool(higher_is_better) and metric not in NO_FRACTIONS


def defined_metrics(name: str) -> list[str] | None:
    """The metrics of a task of ``config/tasks`` that tables can show, by the names that a
    configuration gives them; None where it leaves them to lm-eval.

    Args:
        name: of the task.

    Raises:
        UnreadableError: its definition cannot be read; one line.
    """
    definition: dict = {}
    for layer in _layers(name).values():
        definition |= layer
    # Of a token, and computed by the benchmark.
    if definition.get("output_type") == ROLLING:
        return [PERPLEXITY]
    if "metric_list" not in definition:
        return None
    metrics = [
        entry["metric"]
        for entry in definition["metric_list"]
        if is_fraction(entry["metric"], entry.get("higher_is_better"))
    ]
    filters = [entry["name"] for entry in definition.get("filter_list") or []]
    return [f"{metric},{name}" for name in filters for metric in metrics] if filters else metrics


def definition_files(name: str) -> list[Path]:
    """The files that decide a task of ``config/tasks``: its definition, those that it includes, and
    the modules beside them if it names a function of one, which may use the others.

    Args:
        name: of the task.
    """
    layers = [*_layers(name)]
    calls = any("!function" in file.read_text("utf-8") for file in layers)
    return [*layers, *(TASKS_FOLDER.glob("*.py") if calls else [])]


class _Loader(yaml.SafeLoader):
    """Reads what needs no Python: a function is read as its name, which a metric goes by."""


_Loader.add_multi_constructor("!", lambda loader, tag, node: node.value.rpartition(".")[2])

_Beside = Annotated[str, Field(pattern="^[^/]+$")]


class _Metric(BaseModel):
    metric: str
    higher_is_better: StrictBool | None = None


class _Filter(BaseModel):
    name: str


class _Definition(BaseModel):
    """What is looked at of a task's definition."""

    include: _Beside | list[_Beside] = []
    output_type: str = ""
    metric_list: list[_Metric] = []
    filter_list: list[_Filter] | None = None


def _layers(name: str) -> dict[Path, dict]:
    """A task's definition, and below it those that it includes, the last of them on top."""
    file = TASKS_FOLDER / f"{name}.yaml"
    return dict(_laid(file, {file}))


def _laid(file: Path, seen: set[Path]) -> Iterator[tuple[Path, dict]]:
    layer = read_as(_Definition, file, partial(read_keys, loader=_Loader))
    included = layer.get("include", [])
    for name in [included] if isinstance(included, str) else included:
        other = file.parent / name
        # lm-eval refuses the second time.
        if other in seen:
            raise UnreadableError(file, f"include = {name!r}: allowed: each file once")
        seen.add(other)
        yield from _laid(other, seen)
    yield file, layer
