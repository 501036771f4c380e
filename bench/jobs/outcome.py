"""How a stage ends: with its result, or with the reason why there is none."""

import traceback
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

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
from bench.origin import STAGE_FILE, describe
from bench.records.record import RETRY, describe_error

LOG_FILE = "training.json"
Result = TypeVar("Result")


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

    def make(self, stage: str, work: Callable[[], Result]) -> tuple[Result | None, dict | None]:
        """What ``work`` returns, or the ``error`` entry of a record for what it raised.

        While retries remain the error is raised, so that the scheduler tries again with more
        memory; so is one after an interrupt.
        """
        try:
            return work(), None
        except Exception as error:
            if not self.is_final:
                raise
            traceback.print_exc()
            return None, describe_error(error, stage, self.number, self.log)


def run_stage(
    stage: str,
    output: str | Path,
    attempt: Attempt,
    work: Callable[[Path], dict],
    *,
    made_from: dict,
    needs: tuple[str | Path, ...] = (),
) -> None:
    """Let ``work`` fill the folder ``output``, and write ``stage.json`` beside what it made.

    On the last attempt an error becomes the stage's outcome (see :meth:`Attempt.make`), so that
    the cells that do not depend on it, and the table, are still made. An error of a stage in
    ``needs`` is passed on.

    Args:
        stage: name of the stage in ``record.json``.
        output: folder to create, whole or not at all.
        attempt: the number of this attempt.
        work: fills the folder; returns what the stage cost.
        made_from: inputs and configuration of the stage (see :mod:`bench.origin`).
        needs: folders of earlier stages that this one reads.
    """
    with whole(output) as folder:
        folder.mkdir()
        outcome = next((o for o in map(read_outcome, needs) if o["error"] is not None), None)
        if outcome is None:
            filled = naming_full_disk(folder)(partial(work, folder))
            costs, error = attempt.make(stage, filled)
            if error is None:
                size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
                costs |= {"disk_bytes": size, "cluster_job": cluster_job()}
            else:
                remove(folder)
                folder.mkdir()
            outcome = {"error": error, "costs": costs}
        origin = {"files": describe(folder), "made_from": made_from}
        write_json(folder / STAGE_FILE, outcome | origin)


def read_outcome(folder: str | Path) -> dict:
    """The marker of the stage that made a folder, with ``error`` (null when it succeeded) and
    ``costs``.

    Raises:
        UnreadableError: the file that says so is damaged.
    """
    path = Path(folder) / STAGE_FILE
    with advising(RETRY):
        outcome = read_json(path)
        if not isinstance(outcome, dict) or not {"error", "costs"} <= outcome.keys():
            raise UnreadableError(path, "no outcome of a stage")
    return outcome
