"""What ``retry_failed`` runs again: what failed, and what is damaged."""

from collections.abc import Callable
from pathlib import Path

from bench.cells import dense_cell, history_path
from bench.config.whole import Config
from bench.files import UnreadableError
from bench.jobs.outcome import read_outcome
from bench.planning.needs import jobs_of
from bench.records.history import read_histories
from bench.records.record import read_record
from bench.records.samples import read_samples


def to_retry(config: Config, root: Path = Path()) -> set[str]:
    """Outputs of the grid's jobs that failed, or whose files are damaged; an output a job.

    Nothing is removed: Snakemake does that when it runs them, and holds its lock.

    Args:
        config: the configuration.
        root: the working folder of the run.
    """
    made: dict[str, Callable[[Path], bool]] = {}
    for cell in (*map(dense_cell, config.grid.models), *config.cells()):
        for path, job in jobs_of(config, cell).items():
            made[path] = _succeeded if job.rule in ("prune", "repair") else _scored
        made[history_path(cell)] = _followed
    return {path for path, succeeded in made.items() if _failed(root / path, succeeded)}


def _failed(path: Path, succeeded: Callable[[Path], bool]) -> bool:
    try:
        return path.exists() and not succeeded(path)
    except UnreadableError:
        return True


def _scored(record: Path) -> bool:
    found = read_record(record)
    read_samples(record, found)
    return found["error"] is None


def _succeeded(folder: Path) -> bool:
    return read_outcome(folder)["error"] is None


def _followed(history: Path) -> bool:
    read_histories([history])
    return True
