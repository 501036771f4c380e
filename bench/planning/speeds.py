"""How fast jobs compute: by the records of earlier ones, where there are any."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from baselines.pruning import PRUNERS
from bench.config import Config
from bench.config.variants import method_of, training_of
from bench.evaluation.tasks import TaskSpec
from bench.models.shape import Shape, shape_of
from bench.planning.work import evaluation_work, pruning_work, training_work

# Floating-point operations a second of one core, or of a GPU, where no record says it.
SPEED = {"cpu": 1.2e11, "cuda": 3e13}
SOURCE = {
    "cpu": "measured on an AMD EPYC with AVX-512 BF16 and SmolLM2-135M-Instruct",
    "cuda": "assumed: no record of a GPU says it",
}
UNIT = {"cpu": "a core", "cuda": "a GPU"}

# A stage and a method: the pruner, the repair that is trained, or None: any.
Kind = tuple[str, str | None]


@dataclass(frozen=True)
class Speeds:
    """Floating-point operations a second of jobs, of one core or of a GPU.

    Attributes:
        device: cpu or cuda.
        measured: by stage and method.
        records: how many have said so.
    """

    device: str
    measured: Mapping[Kind, float]
    records: int

    def of(self, stage: str, method: str | None = None) -> float:
        """The speed of a method; else, of its stage; else, the one that is stated here."""
        usual = self.measured.get((stage, None), SPEED[self.device])
        return self.measured.get((stage, method), usual)

    def about(self, kinds: Iterable[Kind]) -> str:
        """Where the speeds of these come from, in words."""
        kinds = sorted(set(kinds), key=str)
        measured = [
            f"{stage}{f' {method}' if method else ''} {self.of(stage, method):.1e}"
            for stage, method in kinds
            if self.knows(stage)
        ]
        stated = sorted({stage for stage, _ in kinds if not self.knows(stage)})
        parts = [f"{', '.join(measured)} (from {self.records:,} records)"] if measured else []
        if stated:
            parts.append(f"{', '.join(stated)} {SPEED[self.device]:.1e} ({SOURCE[self.device]})")
        return f"FLOP/s of {UNIT[self.device]}: {'; '.join(parts)}."

    def knows(self, stage: str) -> bool:
        """Whether a record has said how fast a stage is."""
        return (stage, None) in self.measured


def measured_speeds(config: Config, records: Iterable[dict], device: str) -> Speeds:
    """The speeds of earlier jobs on the same kind of device.

    Args:
        config: says the shapes of the records' models; those of other models are left out.
        records: of any grid.
        device: cpu or cuda.
    """
    work: dict[Kind, float] = defaultdict(float)
    seconds: dict[Kind, float] = defaultdict(float)
    used = 0
    for record in records:
        model, provenance = record["cell"]["model"], record["provenance"]
        shape = shape_of(config.models[model].shape, model) if model in config.models else None
        if shape is None or (provenance["accelerator"] is None) != (device == "cpu"):
            continue
        used += 1
        cores = provenance["threads"] if device == "cpu" else 1
        for stage, method, done in _work_done(record, shape):
            costs = record["stages"][stage]
            for kind in {(stage, method), (stage, None)}:
                work[kind] += done
                seconds[kind] += costs.get("processes", 1) * cores * costs["seconds"]
    return Speeds(device, {kind: work[kind] / seconds[kind] for kind in work}, used)


def _work_done(record: dict, shape: Shape) -> Iterator[tuple[str, str | None, float]]:
    """Stage, method and work of each job that a record tells of."""
    cell, stages, resolved = record["cell"], record["stages"], record["config"]["resolved"]
    if stages["prune"] is not None:
        pruner = PRUNERS[cell["pruner"]](**resolved["pruning"])
        tokens = resolved["calibration"]["samples"] * resolved["calibration"]["length"]
        yield "prune", cell["pruner"], pruning_work(shape, pruner, tokens)
    if stages["repair"] is not None:
        method = training_of(method_of(cell["repair"], resolved))
        tokens = stages["repair"]["tokens"]
        yield "repair", method, training_work(shape, method, resolved["repair"], tokens)
    if stages["evaluate"] is not None:
        tasks = resolved["evaluation"]["tasks"].items()
        items = {entry["task"]: entry["n"] for entry in record["metrics"]}
        work = evaluation_work(shape, {name: TaskSpec(**task) for name, task in tasks}, items)
        yield "evaluate", None, work
