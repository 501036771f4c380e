"""How long the rest of a grid takes: what a dry run prints.

The estimate is a sum over jobs of what the same jobs took before: of the records that are there,
else of a reference run. A repair is scaled by its tokens, an evaluation by its items.
"""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from bench.cells import Cell, dense_cell, record_path
from bench.config import Config
from bench.records import read_records
from bench.rows import mean
from bench.variants import method_of, training_of

# Seconds of the default grid on one core of an AMD EPYC with AVX-512 BF16 (SmolLM2-135M, bfloat16,
# another job beside it). What is not here counts as the longest that is.
REFERENCE = {
    ("prune", "magnitude"): 4,
    ("prune", "wanda"): 18,
    ("prune", "sparsegpt"): 37,
    ("repair", "full"): 0.0081,
    ("repair", "lora"): 0.0086,
    ("repair", "spp"): 0.0128,
    ("repair", "seft"): 0.0085,
    ("evaluate", ""): 0.118,
}
JOB_SECONDS = 15
# Of a task without a limit, before anything was measured on it.
ITEMS = 1000


@dataclass(frozen=True)
class Plan:
    """What a grid still needs.

    Attributes:
        cells: of the grid, dense models included.
        jobs: number of jobs a stage.
        seconds: that they take, one after another.
        measured: whether all is estimated from records, not from the reference run.
    """

    cells: int
    jobs: dict[str, int]
    seconds: float
    measured: bool

    def __str__(self) -> str:
        jobs = ", ".join(f"{number:,} to {stage}" for stage, number in self.jobs.items())
        source = (
            "by the records that are there"
            if self.measured
            else "partly by the default model on one CPU core: another model or machine differs"
        )
        return (
            f"Grid of {self.cells:,} cells; still to run: {jobs or 'nothing'}. About "
            f"{self.seconds / 3600:.1f} hours of one job at a time ({source})."
        )


def make_plan(config: Config, root: Path = Path()) -> Plan:
    """What the grid of ``config`` still needs.

    Args:
        config: the configuration.
        root: the working folder of the run.
    """
    cells = [*map(dense_cell, config.grid.models), *config.cells()]
    paths = {cell: root / record_path(cell) for cell in cells}
    done = [cell for cell in cells if paths[cell].is_file()]
    costs = measured_costs(read_records([paths[cell] for cell in done]))
    jobs = list(_jobs(config, [cell for cell in cells if cell not in set(done)], root))
    longest = {stage: max(v for (s, _), v in REFERENCE.items() if s == stage) for stage, _ in jobs}
    sizes = {
        "prune": 1,
        "repair": config.training.blocks * config.training.length,
        "evaluate": sum(task.limit or ITEMS for task in config.evaluation.tasks.values()),
    }
    counts: dict[str, int] = defaultdict(int)
    seconds = 0.0
    for stage, method in jobs:
        each = costs.get((stage, method)) or REFERENCE.get((stage, method), longest[stage])
        seconds += JOB_SECONDS + each * sizes[stage]
        counts[stage] += 1
    return Plan(len(cells), dict(counts), seconds, all(job in costs for job in jobs))


def measured_costs(records: list[dict]) -> dict[tuple[str, str], float]:
    """Seconds a pruning, a token of repair and an item of evaluation, by stage and method.

    A variant counts as the method that it is a variant of.
    """
    found: dict[tuple[str, str], list[float]] = defaultdict(list)
    for record in records:
        cell, stages = record["cell"], record["stages"]
        if stages["prune"] is not None:
            found["prune", cell["pruner"]].append(stages["prune"]["seconds"])
        if stages["repair"] is not None:
            training = training_of(method_of(cell["repair"], record["config"]["resolved"]))
            found["repair", training].append(
                stages["repair"]["seconds"] / stages["repair"]["tokens"]
            )
        items = {entry["task"]: entry["n"] for entry in record["metrics"]}
        if stages["evaluate"] is not None and items:
            found["evaluate", ""].append(stages["evaluate"]["seconds"] / sum(items.values()))
    return {key: mean(values) for key, values in found.items()}


def _jobs(config: Config, cells: Iterable[Cell], root: Path) -> Iterable[tuple[str, str]]:
    """Stage and method of each job that these cells need, each job once."""
    bases, trainings, evaluated = {}, {}, []
    for cell in cells:
        evaluated.append(("evaluate", ""))
        if cell == dense_cell(cell.model):
            continue
        folder = root / config.checkpoints / cell.model / cell.base
        bases[folder / "base"] = ("prune", cell.pruner)
        training = training_of(cell.repair)
        if training is not None:
            method = training_of(config.method(cell.repair))
            trainings[folder / training / f"seed{cell.seed}"] = ("repair", method)
    for folders in (bases, trainings):
        yield from (job for folder, job in folders.items() if not folder.exists())
    yield from evaluated
