"""What the rest of a grid takes, before any of it runs: ``make plan CONFIG=... PROFILE=...``.

Jobs that compute are counted as the workflow has them, each once. What one of them needs is
estimated in :mod:`bench.planning.needs`, and how fast it works in :mod:`bench.planning.speeds`.
"""

import argparse
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pandas as pd

from bench.cells import (
    Cell,
    base_folder,
    dense_cell,
    record_path,
    training_folder,
)
from bench.config import Config, load_or_exit
from bench.config.variants import training_of
from bench.documents import read_keys
from bench.files import UnreadableError
from bench.models.loading import takes_gpu
from bench.models.shape import MODELS, shape_of
from bench.paths import ROOT
from bench.planning.limits import LIMITS_FILE, limits_here, misfits, read_limits
from bench.planning.needs import GIB, Job, Needs, job_seconds, needs, units
from bench.planning.preflight import check_or_exit
from bench.planning.retry import to_retry
from bench.planning.speeds import Kind, Speeds, measured_speeds
from bench.records.record import read_record

# The rules that are counted, in their order, and the stage whose speed their jobs have: none where
# there is nothing to compute.
STAGES = {
    "fetch_model": None,
    "evaluate_dense": "evaluate",
    "prune": "prune",
    "repair": "repair",
    "evaluate": "evaluate",
}
HOURS = {"cpu": "core-hours", "cuda": "GPU-hours"}
# Of more records, about so many are read.
SAMPLE = 1000


@dataclass(frozen=True)
class Row:
    """The jobs of a rule that are left, and what they take.

    Attributes:
        rule: its name.
        jobs: how many.
        hours: of all of them, one core or GPU each.
        longest: hours of the longest.
        host, device: bytes of memory of the largest.
        disk: bytes that all of them leave.
        scratch: bytes of checkpoints of the largest, while it runs.
    """

    rule: str
    jobs: int
    hours: float
    longest: float
    host: int
    device: int
    disk: int
    scratch: int


@dataclass(frozen=True)
class Plan:
    """What a grid still needs.

    Attributes:
        cells: of the grid, dense models included.
        jobs: what is left to run, and how often.
        rows: the same by rule.
        kinds: stages, and methods of them, that are left.
        speeds: that the hours follow from.
        unknown: models of which nothing can be estimated: their shape is not known yet.
    """

    cells: int
    jobs: Counter[Job]
    rows: list[Row]
    kinds: set[Kind]
    speeds: Speeds
    unknown: list[str]

    @property
    def hours(self) -> float:
        return sum(row.hours for row in self.rows)

    def __str__(self) -> str:
        """In one line."""
        jobs = ", ".join(f"{row.jobs:,} {row.rule}" for row in self.rows)
        known = all(self.speeds.knows(stage) for stage, _ in self.kinds)
        source = "by earlier records" if known else "`make plan` says what that assumes"
        return (
            f"Grid of {self.cells:,} cells; still to run: {jobs or 'nothing'}. "
            f"About {self.hours:,.1f} {HOURS[self.speeds.device]} ({source})."
        )

    def table(self) -> str:
        """A line a rule, and one for all."""
        lines = [
            {
                "rule": row.rule,
                "jobs": f"{row.jobs:,}",
                HOURS[self.speeds.device]: f"{row.hours:,.1f}",
                "longest h": f"{row.longest:,.1f}",
                "host GiB": _gib(row.host),
                "GPU GiB": _gib(row.device),
                "disk GiB": _gib(row.disk),
                "checkpoints GiB": _gib(row.scratch),
            }
            for row in (*self.rows, total(self.rows))
        ]
        return pd.DataFrame(lines).to_string(index=False)

    def notes(self) -> Iterator[str]:
        """What the table's numbers are, and what they are not."""
        yield (
            "Host, GPU: peak of the largest job. Disk: what all jobs leave. Checkpoints: of the "
            "largest repair, while it runs. Fetching data, tokenizing and tables come on top."
        )
        if self.kinds:
            yield self.speeds.about(self.kinds)
        for model in self.unknown:
            yield f"{model}: nothing but start-up; give models.{model}.shape, or fetch it first."


def _gib(size: int) -> str:
    return f"{size / GIB:,.1f}" if size else "-"


def make_plan(config: Config, device: str, root: Path = Path()) -> Plan:
    """What the grid of ``config`` still needs.

    Args:
        config: the configuration.
        device: that jobs compute on: cpu or cuda.
        root: the working folder of the run.
    """
    cells = [*map(dense_cell, config.grid.models), *config.cells()]
    again = to_retry(config, root) if config.retry_failed else set()

    def made(path: str | Path) -> bool:
        return str(path) not in again and (root / path).exists()

    jobs = Counter(_jobs(config, [cell for cell in cells if not made(record_path(cell))], made))
    records = sorted((root / "results/cells").glob("**/record.json"))
    sample = list(_readable(records[:: 1 + len(records) // SAMPLE]))
    speeds = measured_speeds(config, sample, device)
    rows = [_row(config, rule, jobs, speeds) for rule in STAGES]
    kinds = {kind_of(config, job) for job in jobs if STAGES[job.rule] is not None}
    models = {job.model for job in jobs}
    unknown = sorted(m for m in models if shape_of(config.models[m].shape, m) is None)
    return Plan(len(cells), jobs, [row for row in rows if row.jobs], kinds, speeds, unknown)


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
        if cell == dense_cell(cell.model):
            made[record_path(cell)] = Job("evaluate_dense", cell.model)
            continue
        training = training_of(cell.repair)
        of_base = partial(Job, model=cell.model, pruner=cell.pruner, pattern=cell.pattern)
        base = base_folder(config.checkpoints, cell)
        if not is_made(base):
            dense = dense_cell(cell.model)
            made[record_path(dense)] = Job("evaluate_dense", cell.model)
            made[base] = of_base("prune")
        if training is not None:
            folder = training_folder(config.checkpoints, cell, training)
            made[folder] = of_base("repair", repair=training, budget=cell.budget)
        made[record_path(cell)] = of_base("evaluate", repair=training, budget=cell.budget)
    return (job for path, job in made.items() if not is_made(path))


def kind_of(config: Config, job: Job) -> Kind:
    """Whose speed a job has that computes; a variant has that of its method."""
    stage = STAGES[job.rule]
    method = {"prune": job.pruner, "repair": config.method(job.repair)}.get(stage)
    return stage, method


def _row(config: Config, rule: str, jobs: Counter[Job], speeds: Speeds) -> Row:
    def hours(job: Job, need: Needs) -> float:
        if STAGES[rule] is None:
            return need.seconds / 3600
        speed = speeds.of(*kind_of(config, job))
        return job_seconds(config, need, speeds.device, speed) / 3600

    mine = {job: number for job, number in jobs.items() if job.rule == rule}
    need = {job: needs(config, job, speeds.device) for job in mine}
    return Row(
        rule,
        jobs=sum(mine.values()),
        hours=sum(
            number * units(config, need[job], speeds.device) * hours(job, need[job])
            for job, number in mine.items()
        ),
        longest=max((hours(job, need[job]) for job in mine), default=0),
        host=max((n.processes * n.host for n in need.values()), default=0),
        device=max((n.device for n in need.values()), default=0),
        disk=sum(number * need[job].disk for job, number in mine.items()),
        scratch=max((n.scratch for n in need.values()), default=0),
    )


def total(rows: Sequence[Row]) -> Row:
    """All jobs: together, and the largest of each kind."""
    together = {key: sum(getattr(row, key) for row in rows) for key in ("jobs", "hours", "disk")}
    largest = ("longest", "host", "device", "scratch")
    peak = {key: max((getattr(row, key) for row in rows), default=0) for key in largest}
    return Row("all", **together, **peak)


def read_files(files: Sequence[Path]) -> dict:
    """The values of configuration files, each laid over those before it, and over the default.

    Raises:
        DocumentError: a file is not there, or cannot be read.
    """
    from snakemake.utils import update_config

    values: dict = {}
    for file in (ROOT / "config/config.yaml", *files):
        update_config(values, read_keys(file))
    return values


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
    check_or_exit(config)
    device = "cuda" if takes_gpu(config.runtime.device) else "cpu"
    plan = make_plan(config, device)
    print(plan, plan.table(), *plan.notes(), sep="\n\n")
    if limits is None:
        limits, file = limits_here(config), "this machine"
    print(f"\nLimits of {file}: {limits}.")
    too_large = list(misfits(config, plan.jobs, device, limits))
    for line in [f"Does not fit: {line}" for line in too_large] or ["Every job fits."]:
        print(line)
