"""What is measured of a cell: each kind of score and each cost, once for all that shows it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench.evaluation.tasks import ANSWER_BPB, PERPLEXITY

if TYPE_CHECKING:
    import pandas as pd

MIB = 2**20
STAGES = ("prune", "repair", "merge", "evaluate")
# The two costs by which repairs are compared.
TIME, MEMORY = "repair_cost_seconds", "repair_peak_memory_mib"
# A ratio of costs that is this close to another is not worth naming.
NEGLIGIBLE_RATIO = 0.05


@dataclass(frozen=True)
class Kind:
    """A kind of score.

    Attributes:
        suffix: of the names of such scores in the tables.
        short: what stands for the suffix at the head of a column.
        long: what stands for it on an axis.
        unit: of a difference between two.
        negligible: the largest difference that is not worth naming, in that unit.
        lower_is_better: whether less is better.
        scale: of what tables show, relative to what records hold.
    """

    suffix: str
    short: str
    long: str
    unit: str
    negligible: float
    lower_is_better: bool
    scale: float = 1

    def heading(self, name: str) -> str:
        """The head of the column of the score ``name``."""
        return self._stem(name) + self.short

    def label(self, name: str) -> str:
        """The axis of the score ``name``."""
        return self._stem(name) + self.long

    def _stem(self, name: str) -> str:
        return name.removesuffix(self.suffix).replace("_", " ")


ACCURACY = Kind("", "", " accuracy (%)", "points", 0.5, lower_is_better=False, scale=100)
"""Of whatever else a task measures, too: between 0 and 1, and more is better."""
KINDS = {
    ANSWER_BPB: Kind("_bpb", " bpb", " (bits a byte)", "bits a byte", 0.01, lower_is_better=True),
    PERPLEXITY: Kind(
        f"_{PERPLEXITY}", " ppl", " perplexity", "nats a token", 0.02, lower_is_better=True
    ),
}


def kind_of(metric: str | None) -> Kind:
    """The kind of score that a metric is, by its name in records and in ``scores.csv``."""
    return KINDS.get(metric, ACCURACY)


def kinds_of(scores: "pd.DataFrame") -> dict[str, Kind]:
    """The kind of each score, by its name.

    Args:
        scores: ``results/scores.csv``.
    """
    return {
        name: kind_of(metric) for name, metric in zip(scores["task"], scores["metric"], strict=True)
    }


@dataclass(frozen=True)
class Cost:
    """What a cell costs.

    Attributes:
        heading: of its column.
        of: the cost of a record; None where that is not known.
        main: whether the main table and the page show it; ``table4`` shows all.
        is_count: whether it is a whole number.
    """

    heading: str
    of: Callable[[dict], float | None]
    main: bool = False
    is_count: bool = False


def _stage(stage: str, key: str, unit: float = 1) -> Callable[[dict], float | None]:
    def cost(record: dict) -> float | None:
        value = (record["stages"][stage] or {}).get(key)
        return None if value is None else value / unit

    return cost


def _peak_memory(stage: str) -> Callable[[dict], float | None]:
    """MiB above what was loaded before the stage: the device's, else the host's."""
    device, host = (_stage(stage, f"peak_{of}_bytes", MIB) for of in ("device", "rss"))
    return lambda record: host(record) if device(record) is None else device(record)


def _repair_and_merge(record: dict) -> float | None:
    """Seconds of the training, and of the merge, which may prune again."""
    training, merge = (_stage(stage, "seconds")(record) for stage in ("repair", "merge"))
    return None if training is None else training + (merge or 0.0)


COSTS = {
    "trainable_parameters": Cost(
        "trainable", _stage("repair", "trainable_parameters"), main=True, is_count=True
    ),
    "repair_tokens": Cost("tokens", _stage("repair", "tokens"), main=True, is_count=True),
    "repair_tokens_per_second": Cost("tokens/s", _stage("repair", "tokens_per_second")),
    "repair_seconds_evolving": Cost("s evolving", _stage("repair", "seconds_evolving")),
    **{
        f"{name}_seconds": Cost(f"{name} s", _stage(name, "seconds"), main=True)
        for name in ("prune", "repair", "merge")
    },
    TIME: Cost("repair + merge s", _repair_and_merge, main=True),
    "evaluate_seconds": Cost("evaluate s", _stage("evaluate", "seconds"), main=True),
    MEMORY: Cost("repair MiB", _peak_memory("repair"), main=True),
    **{
        f"{name}_peak_memory_mib": Cost(f"{name} MiB", _peak_memory(name))
        for name in STAGES
        if name != "repair"
    },
    **{
        f"{name}_disk_mib": Cost(f"{name} disk MiB", _stage(name, "disk_bytes", MIB))
        for name in ("prune", "repair")
    },
}
"""By their names in the tables, in their order."""
