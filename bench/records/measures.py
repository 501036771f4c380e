"""What is measured of a cell: each kind of score and each cost, once for all that shows it."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench.evaluation.tasks import ANSWER_BPB, PERPLEXITY

if TYPE_CHECKING:
    import pandas as pd

AVERAGE = "average"
ANSWERS = "answers_bpb"
MIB = 2**20
STAGES = ("prune", "repair", "merge", "evaluate")
# The two costs by which repairs are compared.
TIME, MEMORY = "repair_cost_seconds", "repair_peak_memory_mib"
# What tells whether that time says something of the repair, and the stages that it is of.
WAITED = "repair_waited_percent"
REPAIRING = ("repair", "merge")
# Between the names of devices.
SEVERAL = "; "
# A ratio of costs that is this close to another is not worth naming.
NEGLIGIBLE_RATIO = 0.05


@dataclass(frozen=True)
class Kind:
    """A kind of score.

    Attributes:
        suffix: of the names of such scores in the tables.
        short: what stands for the suffix at the head of a column.
        long: what stands for it on an axis.
        phrase: a score in a sentence.
        unit: of a difference between two.
        negligible: the largest difference that is not worth naming, in that unit.
        lower_is_better: whether less is better.
        scale: of what tables show, relative to what records hold.
    """

    suffix: str
    short: str
    long: str
    phrase: str
    unit: str
    negligible: float
    lower_is_better: bool
    scale: float = 1

    def favours(self, difference: float) -> bool:
        """Whether a difference from another score is to the better."""
        return difference != 0 and (difference < 0) == self.lower_is_better

    def heading(self, name: str) -> str:
        """The head of the column of the score ``name``."""
        return self._stem(name) + self.short

    def label(self, name: str) -> str:
        """The axis of the score ``name``."""
        return self._stem(name) + self.long

    def _stem(self, name: str) -> str:
        return name.removesuffix(self.suffix).replace("_", " ")


ACCURACY = Kind("", "", " accuracy (%)", "{} %", "points", 0.5, lower_is_better=False, scale=100)
"""Of whatever else a task measures, too: between 0 and 1, and more is better."""
KINDS = {
    ANSWER_BPB: Kind(
        suffix="_bpb",
        short=" bpb",
        long=" (bits a byte)",
        phrase="{} bits a byte",
        unit="bits a byte",
        negligible=0.01,
        lower_is_better=True,
    ),
    PERPLEXITY: Kind(
        suffix="_perplexity",
        short=" ppl",
        long=" perplexity",
        phrase="perplexity {}",
        unit="nats a token",
        negligible=0.02,
        lower_is_better=True,
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


def chief_scores(scores: "pd.DataFrame") -> list[str]:
    """The scores by which repairs are judged, that with most signal first.

    Bits per byte of the right answer, perplexities, average accuracy: what was measured of them.

    Args:
        scores: ``results/scores.csv``.
    """
    measured = scores.dropna(subset="mean")
    perplexities = measured.loc[measured["metric"] == PERPLEXITY, "task"].unique()
    names = [ANSWERS, *perplexities, AVERAGE]
    return [name for name in names if name in set(measured["task"])]


@dataclass(frozen=True)
class Cost:
    """What a cell costs.

    Attributes:
        heading: of its column.
        of: the cost of a record; None where that is not known.
        in_table1: whether the main table has it; ``table4`` has all.
        on_page: whether the page's table has it.
        is_count: whether it is a whole number.
        times: the stages whose time it is of, and so depends on what runs beside them.
    """

    heading: str
    of: Callable[[dict], float | None]
    in_table1: bool = False
    on_page: bool = False
    is_count: bool = False
    times: tuple[str, ...] = ()


def device_of(record: dict) -> str:
    """What a cell was computed on, as far as its costs depend on it: costs of one device alone are
    compared.

    It is that of the training, with the processes that shared it and the micro-batches that a batch
    was cut into, and where that is another one, that of the evaluation.
    """
    evaluated = computer(record["provenance"])
    costs = record["stages"]["repair"]
    if costs is None:
        return evaluated
    trained = computer(costs.get("computed_on") or record["provenance"])
    parts, processes = [trained], costs.get("processes") or 1
    parts += [f"{processes} processes"] if processes > 1 else []
    micro_batch = costs.get("micro_batch")
    if (
        micro_batch
        and micro_batch * processes < record["config"]["resolved"]["training"]["batch_size"]
    ):
        parts.append(f"micro-batches of {micro_batch}")
    parts += [f"evaluated on {evaluated}"] if evaluated != trained else []
    return ", ".join(parts)


def computer(made: dict) -> str:
    """Machine, threads on a CPU, and dtype, of what ``provenance`` says of them."""
    threads = f"{made['threads']} thread{'s' if made['threads'] > 1 else ''}"
    parts = [machine_of(made), None if made["accelerator"] else threads, made["dtype"]]
    return ", ".join(filter(None, parts))


def machine_of(provenance: dict) -> str:
    """The name of the accelerator that was computed on, else of the CPU."""
    return (provenance["accelerator"] or {}).get("name") or provenance["cpu"]


def _stage(stage: str, key: str, unit: float = 1) -> Callable[[dict], float | None]:
    def cost(record: dict) -> float | None:
        value = (record["stages"][stage] or {}).get(key)
        return None if value is None else value / unit

    return cost


def _peak_memory(stage: str) -> Callable[[dict], float | None]:
    """MiB above what was loaded before the stage: the device's, else the host's.

    What reads as nothing at all was not measured.
    """
    device, host = (_stage(stage, f"peak_{of}_bytes", MIB) for of in ("device", "rss"))
    return lambda record: (host if device(record) is None else device)(record) or None


def _repair_and_merge(record: dict) -> float | None:
    """Seconds of the training, and of the merge, which may prune again."""
    training, merge = (_stage(stage, "seconds")(record) for stage in REPAIRING)
    return None if training is None else training + (merge or 0.0)


def waited_percent(record: dict, stages: Iterable[str]) -> float | None:
    """Percent of the time of these stages in which they were ready and had no core."""
    costs = [record["stages"][stage] or {} for stage in stages]
    known = [cost for cost in costs if cost.get("waited_seconds") is not None]
    seconds, waited = (sum(c[key] for c in known) for key in ("seconds", "waited_seconds"))
    return 100 * waited / seconds if seconds else None


def beside_others(waited: float | None) -> bool:
    """Whether so many percent of waiting are more than a difference of times worth naming."""
    return waited is not None and waited > 100 * NEGLIGIBLE_RATIO


def _time(stage: str) -> Cost:
    return Cost(f"{stage} s", _stage(stage, "seconds"), in_table1=True, times=(stage,))


COSTS = {
    "trainable_parameters": Cost(
        "trainable",
        _stage("repair", "trainable_parameters"),
        in_table1=True,
        on_page=True,
        is_count=True,
    ),
    "repair_tokens": Cost("tokens", _stage("repair", "tokens"), in_table1=True, is_count=True),
    "repair_tokens_per_second": Cost(
        "tokens/s", _stage("repair", "tokens_per_second"), times=("repair",)
    ),
    "repair_seconds_evolving": Cost(
        "s evolving", _stage("repair", "seconds_evolving"), times=("repair",)
    ),
    "prune_seconds": _time("prune"),
    "repair_seconds": _time("repair"),
    "merge_seconds": _time("merge"),
    TIME: Cost(
        "repair + merge s", _repair_and_merge, in_table1=True, on_page=True, times=REPAIRING
    ),
    WAITED: Cost("waited %", lambda record: waited_percent(record, REPAIRING), in_table1=True),
    "evaluate_seconds": _time("evaluate"),
    MEMORY: Cost("repair MiB", _peak_memory("repair"), in_table1=True, on_page=True),
    "prune_peak_memory_mib": Cost("prune MiB", _peak_memory("prune")),
    "merge_peak_memory_mib": Cost("merge MiB", _peak_memory("merge")),
    "evaluate_peak_memory_mib": Cost("evaluate MiB", _peak_memory("evaluate")),
    "prune_disk_mib": Cost("prune disk MiB", _stage("prune", "disk_bytes", MIB)),
    "repair_disk_mib": Cost("repair disk MiB", _stage("repair", "disk_bytes", MIB)),
}
"""By their names in the tables, in their order."""
