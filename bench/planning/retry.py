"""What ``retry_failed`` runs again: what failed, and what is damaged."""

from pathlib import Path

from bench.cells import dense_cell, history_path
from bench.config.whole import Config
from bench.files import UnreadableError
from bench.jobs.outcome import read_outcome
from bench.planning.needs import jobs_of
from bench.records.history import read_histories
from bench.records.record import read_record
from bench.records.samples import read_samples


def to_retry(config: Config) -> set[str]:
    """Outputs of the grid's jobs that failed, or whose files are damaged; an output a job.

    Nothing is removed: Snakemake does that when it runs them, and holds its lock.
    """
    cells = (*map(dense_cell, config.grid.models), *config.cells())
    made = {path for cell in cells for path in (*jobs_of(config, cell), history_path(cell))}
    return {path for path in made if Path(path).exists() and not _is_well(Path(path))}


def _is_well(path: Path) -> bool:
    """Whether a folder of a stage, a history or a record is whole, and not of a failure."""
    try:
        if path.is_dir():
            return read_outcome(path)["error"] is None
        if path.suffix == ".gz":
            return bool(read_histories([path]))
        record = read_record(path)
        read_samples(path, record)
        return record["error"] is None
    except UnreadableError:
        return False
