"""What ``retry_failed`` runs again: what failed, and what is damaged."""

from collections.abc import Callable
from pathlib import Path

from bench.cells import (
    UNREPAIRED,
    base_folder,
    dense_cell,
    history_path,
    record_path,
    training_folder,
)
from bench.config import Config
from bench.config.variants import training_of
from bench.files import UnreadableError
from bench.jobs.outcome import read_outcome
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
    for model in config.grid.models:
        made[record_path(dense_cell(model))] = _scored
    for cell in config.cells():
        made[base_folder(config.checkpoints, cell)] = _succeeded
        if cell.repair != UNREPAIRED:
            training = training_of(cell.repair)
            made[training_folder(config.checkpoints, cell, training)] = _succeeded
        made[record_path(cell)] = _scored
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
