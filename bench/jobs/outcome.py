"""How a stage ends: with its result, or with the reason why there is none."""

import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bench.files import (
    UnreadableError,
    advising,
    naming_full_disk,
    read_json,
    remove,
    whole,
    write_json,
)
from bench.jobs.provenance import cluster_job
from bench.records.record import RETRY, describe_error

STAGE_FILE = "stage.json"
LOG_FILE = "training.json"


@dataclass
class Attempt:
    """Which try of a job this is, of how many, where its log is, and whether it was interrupted."""

    number: int = 1
    allowed: int = 1
    log: str | None = None
    interrupted: bool = False

    @property
    def is_final(self) -> bool:
        """Whether an error is the outcome: of the last try, and not of what an interrupt broke.

        A library that swallows ``KeyboardInterrupt``, in an import say, raises another error later.
        """
        return self.number >= self.allowed and not self.interrupted


def run_stage(
    stage: str,
    output: str | Path,
    attempt: Attempt,
    work: Callable[[Path], dict],
    needs: tuple[str | Path, ...] = (),
) -> None:
    """Let ``work`` fill the folder ``output``, and write ``stage.json`` beside what it made.

    While retries remain, an error is raised, so that the scheduler tries again with more memory;
    so is one after an interrupt. On the last attempt it becomes the stage's outcome, so that the
    cells that do not depend on it, and the table, are still made. An error of a stage in ``needs``
    is passed on.

    Args:
        stage: name of the stage in ``record.json``.
        output: folder to create, whole or not at all.
        attempt: the number of this attempt.
        work: fills the folder; returns what the stage cost.
        needs: folders of earlier stages that this one reads.
    """
    with whole(output) as folder:
        folder.mkdir()
        outcome = next((o for o in map(read_outcome, needs) if o["error"] is not None), None)
        if outcome is None:
            try:
                with naming_full_disk(folder):
                    costs = work(folder)
                costs |= {"disk_bytes": disk_bytes(folder), "cluster_job": cluster_job()}
                outcome = {"error": None, "costs": costs}
            except Exception as error:
                if not attempt.is_final:
                    raise
                traceback.print_exc()
                remove(folder)
                folder.mkdir()
                reason = describe_error(error, stage, attempt.number, attempt.log)
                outcome = {"error": reason, "costs": None}
        write_json(folder / STAGE_FILE, outcome)


def disk_bytes(folder: Path) -> int:
    """Size of the files in a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def read_outcome(folder: str | Path) -> dict:
    """``error`` (null when the stage succeeded) and ``costs`` of the stage that made a folder.

    Raises:
        UnreadableError: the file that says so is damaged.
    """
    path = Path(folder) / STAGE_FILE
    with advising(RETRY):
        if not path.is_file():
            raise UnreadableError(path, "no such file")
        outcome = read_json(path)
        if not isinstance(outcome, dict) or outcome.keys() != {"error", "costs"}:
            raise UnreadableError(path, "no outcome of a stage")
    return outcome
