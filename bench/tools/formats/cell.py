"""A cell as the formats tell of it."""

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from lm_eval.api.registry import is_higher_better

from bench.cells import Cell, record_path
from bench.evaluation.tasks import UNFILTERED
from bench.records.measures import KINDS
from bench.records.record import read_record
from bench.records.samples import Samples, read_samples

SUITE = "sparse-repair-bench"


@dataclass
class Files:
    """What a format makes of a cell.

    Attributes:
        texts: of the files, by their paths below the folder of all cells.
        left_out: what the format cannot say, a line each.
    """

    texts: dict[str, str] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)


class ScoredCell:
    """A cell with its results.

    Args:
        path: of its record.

    Raises:
        UnreadableError: it is no record.
    """

    def __init__(self, path: Path):
        self.path = path
        self.record = read_record(path)

    @cached_property
    def samples(self) -> Samples:
        """The results item by item, by task; see :func:`bench.records.samples.read_samples`."""
        return read_samples(self.path, self.record) or {}

    @property
    def name(self) -> str:
        """Where it lies below ``cells``: ``smollm2-135m/wanda-s60/lora/seed0``."""
        place = Path(record_path(Cell(**self.record["cell"])))
        return place.parent.relative_to("results/cells").as_posix()

    @property
    def metrics(self) -> list[dict]:
        """The scores that have a value."""
        return [entry for entry in self.record["metrics"] if entry["value"] is not None]

    def settings(self, task: str) -> dict:
        """What a task was configured with."""
        return self.record["config"]["resolved"]["evaluation"]["tasks"].get(task, {})

    def higher_is_better(self, entry: dict) -> bool | None:
        """Whether more of a score is better, by lm-eval where it is not one of the benchmark's own;
        None where nobody says.
        """
        name, _ = metric_and_filter(entry["metric"])
        if name in KINDS:
            return not KINDS[name].lower_is_better
        known = is_higher_better(name)
        # What a task is judged by is a fraction of right answers.
        is_chief = entry["metric"] == self.settings(entry["task"]).get("metric")
        return True if known is None and is_chief else known

    def facts(self) -> dict:
        """What was evaluated: the base, how it was pruned and repaired, and how sparse it is."""
        record = self.record
        cell, resolved = record["cell"], record["config"]["resolved"]
        training = record["stages"]["repair"] or {}
        known = {
            "base_model": cell["model"],
            "base_model_source": resolved["model"],
            "base_model_manifest": record["provenance"]["manifests"]["model"],
            **{key: cell[key] for key in ("pruner", "pattern", "repair", "budget", "seed")},
            "sparsity_requested": record["sparsity"]["requested"],
            "sparsity_achieved": record["sparsity"]["achieved"],
            "trainable_parameters": training.get("trainable_parameters"),
            "repair_tokens": training.get("tokens"),
            **{
                f"{key}_options": resolved.get(key)
                for key in ("calibration", "pruning", "training", "repair")
            },
            "dtype": record["provenance"]["dtype"],
            "config_hash": record["config"]["hash"],
        }
        return {key: value for key, value in known.items() if value is not None}


def metric_and_filter(metric: str) -> tuple[str, str]:
    """A metric of a record as lm-eval has it."""
    name, _, kind = metric.partition(",")
    return name, kind or UNFILTERED
