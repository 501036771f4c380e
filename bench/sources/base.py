"""What every source has."""

from abc import ABC, abstractmethod
from pathlib import Path, PurePosixPath
from typing import Annotated

from pydantic import AfterValidator, Field

from bench.origin import MANIFEST, STAGE_FILE, is_described
from bench.typed import Strict


class SourceError(Exception):
    """Something could not be fetched, or is not whole; the message is one line that names it."""


def _inside(path: str) -> str:
    parts = PurePosixPath(path).parts
    if not parts or path.startswith("/") or ".." in parts or str(PurePosixPath(*parts)) != path:
        raise ValueError("allowed: a relative path with forward slashes and without '..'")
    return path


def _described(path: str) -> str:
    if not is_described(PurePosixPath(path)):
        raise ValueError(
            f"allowed: a name that a manifest has: none that is hidden, and not {MANIFEST} or "
            f"{STAGE_FILE}, which are taken"
        )
    return path


RelativePath = Annotated[str, AfterValidator(_inside)]

Described = AfterValidator(_described)
"""Of the name of a file: a manifest can say something of it."""

FetchedPath = Annotated[RelativePath, Described]
"""Of a file in the folder that a source is fetched to."""


class BaseSource(Strict, ABC):
    """A place that models and data come from: an entry of the configuration."""

    licence: str | None = Field(
        default=None, description="Licence of what is fetched (SPDX where there is one)."
    )

    @abstractmethod
    def retrieve(self, folder: Path) -> None:
        """Put the files into ``folder``, an empty folder.

        Raises:
            SourceError: when they cannot be had.
        """

    def retrieve_model(self, folder: Path) -> None:
        """Put the files of a model into ``folder``."""
        self.retrieve(folder)
