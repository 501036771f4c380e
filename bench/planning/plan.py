"""What the rest of a grid takes, before any of it runs: ``make plan CONFIG=... PROFILE=...``.

Jobs that compute are counted as the workflow has them, each once; to let Snakemake's own dry run
count them takes a minute for 7,680 jobs, where this takes a second. What one of them needs is
estimated in :mod:`bench.planning.needs`, and how fast it works in :mod:`bench.planning.speeds`.
"""

import argparse
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

import pandas as pd

from bench.cells import NO_BUDGET, Cell, base_folder, dense_cell, record_path
from bench.config.loading import load_or_exit, read_files
from bench.config.models import MODELS
from bench.config.variants import training_of
from bench.config.whole import Config
from bench.files import UnreadableError
from bench.models.loading import takes_gpu
from bench.planning.limits import LIMITS_FILE, limits_here, misfits, read_limits
from bench.planning.needs import GIB, MIB, Job, job_seconds, jobs_of, needs, units
from bench.planning.preflight import exit_on, find_problems
from bench.planning.retry import to_retry
from bench.planning.speeds import Device, device_of, with_records
from bench.records.record import read_record

# What is said of the jobs of a rule: of all together, or of the largest one.
COLUMNS = {
    "jobs": "sum",
    "hours": "sum",
    "longest h": "max",
    "host GiB": "max",
    "GPU GiB": "max",
    "disk GiB": "sum",
    "checkpoints GiB": "max",
}
RULES = ["fetch_model", "evaluate_dense", "prune", "repair", "evaluate"]
# Of more records, about so many are read.
SAMPLE = 1000
SAVINGS = 3


@dataclass(frozen=True)
class Plan:
    """What a grid still needs.

    Attributes:
        config: of the grid.
        device: that computes.
        available: bytes of a GPU's memory, for which trainings take micro-batches.
        jobs: what is left to run, and how often.
    """

    config: Config
    device: Device
    available: int | None
    jobs: Counter[Job]

    @cached_property
    def estimates(self) -> pd.DataFrame:
        """A row a kind of job: what it is, and ``COLUMNS``, ``hours`` of one core or GPU.

        Numbers are missing where the shape of the model is not known.
        """
        rows = [asdict(job) | self._estimate(job, number) for job, number in self.jobs.items()]
        return pd.DataFrame(rows, columns=[*Job.__dataclass_fields__, *COLUMNS])

    def _estimate(self, job: Job, number: int) -> dict[str, float]:
        need = needs(self.config, job, self.device.kind, self.available)
        if need is None:
            return {"jobs": number}
        hours = job_seconds(self.config, job, need, self.device) / 3600
        return {
            "jobs": number,
            "hours": number * units(self.config, need, self.device.kind) * hours,
            "longest h": hours,
            "host GiB": need.processes * need.host / GIB,
            "GPU GiB": need.device / GIB,
            "disk GiB": number * need.disk / GIB,
            "checkpoints GiB": need.scratch / GIB,
        }

    @property
    def unknown(self) -> list[str]:
        """The models whose shape is not known."""
        return sorted(set(self.estimates["model"][self.estimates["hours"].isna()]))

    @property
    def hours(self) -> float:
        """Of all jobs of known models."""
        return self.estimates["hours"].sum()

    @property
    def rules(self) -> pd.DataFrame:
        """A row a rule, and ``COLUMNS``."""
        of_rules = self.estimates.groupby("rule")[[*COLUMNS]].agg(_together)
        return of_rules.reindex([rule for rule in RULES if rule in of_rules.index])

    def table(self) -> str:
        """A line a rule, and one for all."""
        rules = self.rules
        rules.loc["all"] = self.estimates[[*COLUMNS]].agg(_together)
        return rules.map(_shown).rename_axis("rule").reset_index().to_string(index=False)

    def __str__(self) -> str:
        """In one line."""
        cells = len(self.config.grid.models) + sum(1 for _ in self.config.cells())
        jobs = ", ".join(f"{number:,} {rule}" for rule, number in self.rules["jobs"].items())
        parts = [f"Grid of {cells:,} cells", f"still to run: {jobs or 'nothing'}"]
        if self.hours:
            parts.append(f"about {_shown(self.hours)} {self.device.hours}")
        if self.unknown:
            parts.append(f"unknown hours for {', '.join(self.unknown)}")
        return "; ".join(parts) + "."

    def notes(self) -> Iterator[str]:
        """What the table's numbers are and follow from, how long this device takes, and what would
        save most of that.
        """
        yield (
            "Host, GPU: peak of the largest job. Disk: what all jobs leave. Checkpoints: of the "
            "largest repair, while it runs. Fetching data, tokenizing and tables come on top."
        )
        for model in self.unknown:
            yield f"{model}: of unknown shape; give models.{model}.shape, or fetch it first."
        unit, hours = self.device.hours, self.hours
        yield f"{unit} follow from {self.device}."
        if hours:
            cores = os.cpu_count() if self.device.kind == "cpu" else 1
            on = f"{cores} {self.device.name}{'s' if cores > 1 else ''}"
            largest = sorted(self._savings(), reverse=True)[:SAVINGS]
            saved = "; ".join(f"{words} ({_shown(saved)})" for saved, words in largest)
            yield f"About {_shown(hours / 24 / cores)} days on {on}. To save most {unit}: {saved}."

    def _savings(self) -> Iterator[tuple[float, str]]:
        """Hours that a smaller grid or budget would save, and what is made smaller."""
        jobs, seeds = self.estimates, len(self.config.grid.seeds)
        hours, rule = jobs["hours"], jobs["rule"]
        for key in ("model", "pruner", "pattern", "repair", "budget"):
            each = hours.groupby(jobs[key]).sum().drop(NO_BUDGET, errors="ignore")
            if len(each) > 1:
                left_out = self._of_training if key == "repair" else str
                yield from (
                    (saved, f"grid.{key}s: without {left_out(name)}")
                    for name, saved in each.items()
                )
        yield (1 - 1 / seeds) * hours[jobs["repair"].notna()].sum(), "grid.seeds: one"
        yield hours[rule == "repair"].sum() / 2, "training.steps: half"
        tasks = self.config.evaluation.tasks
        tokens = pd.Series({name: task.tokens(name) for name, task in tasks.items()})
        each = hours[rule.str.startswith("evaluate")].sum() * tokens / tokens.sum()
        yield from ((saved, f"evaluation.tasks: without {name}") for name, saved in each.items())

    def _of_training(self, training: str) -> str:
        """The repairs of the grid that merge a training: it is made for any one of them."""
        return " and ".join(
            repair for repair in self.config.grid.repairs if training_of(repair) == training
        )


def _together(column: pd.Series) -> float:
    return getattr(column, COLUMNS[column.name])(skipna=False)


def _shown(value: float) -> str:
    if pd.isna(value):
        return "unknown"
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}" if value else "-"


def make_plan(config: Config, device: Device, available: int | None = None) -> Plan:
    """What the grid of ``config`` still needs in the working folder; arguments as of `Plan`."""
    cells = [*map(dense_cell, config.grid.models), *config.cells()]
    again = to_retry(config) if config.retry_failed else set()

    def made(path: str | Path) -> bool:
        return str(path) not in again and Path(path).exists()

    jobs = _jobs(config, [cell for cell in cells if not made(record_path(cell))], made)
    records = sorted(Path("results/cells").glob("**/record.json"))
    records = _readable(records[:: 1 + len(records) // SAMPLE])
    return Plan(config, with_records(device, config, records), available, Counter(jobs))


def _readable(records: Iterable[Path]) -> Iterator[dict]:
    """These records, but for damaged ones: speeds are estimates."""
    for path in records:
        with suppress(UnreadableError):
            yield read_record(path)


def _jobs(
    config: Config, cells: list[Cell], is_made: Callable[[str | Path], bool]
) -> Iterator[Job]:
    """The jobs that these cells need and that are not done, as often as they run."""
    made: dict[str | Path, Job] = {}
    for cell in cells:
        made[MODELS / cell.model] = Job("fetch_model", cell.model)
        # Nothing is pruned before the dense model is scored.
        if not is_made(base_folder(config.checkpoints, cell)):
            made |= jobs_of(config, dense_cell(cell.model))
        made |= jobs_of(config, cell)
    return (job for path, job in made.items() if not is_made(path))


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Say what a grid takes, and run nothing.")
    parser.add_argument("--configfile", type=Path, nargs="*", default=[], help="of the grid")
    parser.add_argument(
        "--profile",
        type=Path,
        default=Path("profiles/default"),
        help=f"whose {LIMITS_FILE} says what a job may take; without one, what this machine has",
    )
    given = parser.parse_args(arguments)
    file = given.profile / LIMITS_FILE
    try:
        if not given.profile.is_dir():
            raise ValueError(f"{given.profile}: no such profile")
        limits = read_limits(file) if file.is_file() else None
        config = load_or_exit(read_files(given.configfile))
    except ValueError as error:
        parser.exit(1, f"{error}\n")
    exit_on(find_problems(config))
    if limits is None:
        limits, file = limits_here(config), "this machine"
    kind = "cuda" if takes_gpu(config.runtime.device) else "cpu"
    memory = limits.gpu_memory_mib and limits.gpu_memory_mib * MIB
    device = device_of(kind, limits.gpu, dtype=config.runtime.dtype)
    plan = make_plan(config, device, available=memory)
    print(plan, plan.table(), *plan.notes(), sep="\n\n")
    print(f"\nLimits of {file}: {limits}.")
    problems = list(misfits(config, plan.jobs, plan.device, limits))
    print(*(problems or ["Every job fits."]), sep="\n")
