"""Submissions: the records of other groups, each group an origin of its own.

``submissions/<name>/`` holds ``submission.yaml``, which says whose they are (:class:`About`); the
configuration that they were run with; and ``results/cells``, as a run leaves it. What was found
when some of its cells were run again (:mod:`bench.tools.verify`) lies beside them.

In tables their repairs are called ``<name>/<repair>``, and are compared with what was run here
where data, models, evaluation and budgets are the same.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, NonNegativeInt, PositiveInt

from bench.cells import UNREPAIRED, Cell, sent_name
from bench.documents import read_keys
from bench.files import UnreadableError
from bench.origin import digest_of, sha256
from bench.records.comparable import differences
from bench.records.record import HERE, ORIGIN, PUBLISHED, read_records
from bench.records.schema import CellPart
from bench.sources.base import RelativePath
from bench.typed import Commit, Sha256, Strict, Text, check_name, read_as

SUBMISSIONS = Path("submissions")
ABOUT, VERIFIED = "submission.yaml", "verified.json"


class Code(Strict):
    repository: Text
    commit: Commit


class About(Strict):
    """Whose records they are: ``submission.yaml``."""

    authors: Text
    licence: Text
    code: Code
    paper: Text | None = None
    contact: Text | None = None
    configuration: Annotated[list[RelativePath], Field(min_length=1)] = ["config.yaml"]


class Rerun(Strict):
    """A cell that was run again here.

    ``same``: bit for bit; ``within``: as far off as another seed may be; ``outside``: further, for
    the ``reasons``.
    """

    cell: CellPart
    verdict: Literal["same", "within", "outside"]
    reasons: list[Text]


class Verification(Strict):
    """What was found when a random few of a submission's cells were run again: ``verified.json``.

    ``records`` is the digest of all its records: what changes later is not what was verified.
    """

    date: Text
    commit: Commit | None
    device: Text
    draw: NonNegativeInt
    of: PositiveInt
    records: Sha256
    cells: Annotated[list[Rerun], Field(min_length=1)]


@dataclass(frozen=True)
class Submission:
    """One folder of submissions."""

    folder: Path

    @property
    def name(self) -> str:
        return self.folder.resolve().name

    @cached_property
    def about(self) -> About:
        """Whose it is.

        Raises:
            UnreadableError: ``submission.yaml``, or the folder's name, is not as it should be.
        """
        try:
            check_name(self.name)
        except ValueError as error:
            raise UnreadableError(self.folder, str(error)) from None
        if self.name in (HERE, PUBLISHED):
            raise UnreadableError(self.folder, f"allowed: another name than {HERE}, {PUBLISHED}")
        return About.model_validate(read_as(About, self.folder / ABOUT, read_keys))

    def configuration(self) -> list[Path]:
        """The files of its configuration, each laid over those before it.

        Raises:
            UnreadableError: one is not there, or ``submission.yaml`` is not as it should be.
        """
        paths = [self.folder / name for name in self.about.configuration]
        for path in paths:
            # A link may lead out of the folder.
            if not path.resolve().is_relative_to(self.folder.resolve()) or not path.is_file():
                raise UnreadableError(self.folder / ABOUT, f"configuration: no file {path}")
        return paths

    @property
    def results(self) -> Path:
        """The folder of its results."""
        return self.folder / "results"

    @property
    def paths(self) -> list[Path]:
        """Of its records."""
        return sorted(self.results.glob("cells/**/record.json"))

    def digest(self) -> str:
        """One of all files of its records."""
        below = self.results / "cells"
        files = [path for path in sorted(below.rglob("*")) if path.is_file()]
        return digest_of({path.relative_to(below).as_posix(): sha256(path) for path in files})

    def verification(self) -> Verification | None:
        """What was found of the records as they are now; None if nothing was.

        Raises:
            UnreadableError: ``verified.json`` is not as it should be.
        """
        path = self.folder / VERIFIED
        if not path.is_file():
            return None
        found = Verification.model_validate(read_as(Verification, path))
        return found if found.records == self.digest() else None

    def state(self) -> str:
        """``self-reported``, ``verified on ...``, or ``differs``; in words."""
        found = self.verification()
        if found is None:
            return "self-reported"
        outside = sum(rerun.verdict == "outside" for rerun in found.cells)
        if outside:
            return f"differs in {outside} of {len(found.cells)} cells, {found.date}"
        return f"verified on {found.date}, {len(found.cells)} of {found.of} cells"


@dataclass(frozen=True)
class Sent:
    """A submission beside the records of here.

    Attributes:
        name: of its folder.
        about: whose it is.
        state: whether it was verified, in words.
        records: how many it has.
        apart: why its records are not in tables with those of here; empty if they are.
    """

    name: str
    about: About
    state: str
    records: int
    apart: str


def submissions_below(folder: Path, *, beside: Path) -> list[Submission]:
    """The submissions of a folder ``submissions``, by name; none if there is no such folder.

    Args:
        folder: that of all submissions.
        beside: the folder of results that they stand beside: one whose own results these are is
            not among them.
    """
    found = [Submission(path) for path in sorted(folder.glob("[!.]*")) if path.is_dir()]
    return [one for one in found if one.results.resolve() != beside.resolve()]


def joined(
    ours: Mapping[str, dict], submissions: Iterable[Submission]
) -> tuple[dict[str, dict], list[Sent]]:
    """The records of here and those of submissions that may be compared with them.

    A submission's dense models and unrepaired bases give way to those of here, or of a submission
    before it, if there are any.

    Args:
        ours: the records of here, by their paths.
        submissions: in any order.

    Returns:
        All records by their paths, and each submission.

    Raises:
        UnreadableError: a file is not as it should be.
    """
    found, sent = dict(ours), []
    cells = {Cell(**record["cell"]) for record in ours.values()}
    for submission in submissions:
        about = submission.about
        theirs = {
            path: _named(record, submission.name)
            for path, record in read_records(submission.paths).items()
        }
        apart = next((reason for _, reason in differences({**found, **theirs})), "")
        sent.append(Sent(submission.name, about, submission.state(), len(theirs), apart))
        if not apart:
            new = {p: r for p, r in theirs.items() if Cell(**r["cell"]) not in cells}
            found |= new
            cells |= {Cell(**record["cell"]) for record in new.values()}
    return found, sent


def _named(record: dict, name: str) -> dict:
    """A record as tables name it."""
    cell = record["cell"]
    if cell["repair"] != UNREPAIRED:
        cell = cell | {"repair": sent_name(name, cell["repair"])}
    return record | {"cell": cell, ORIGIN: name}
