"""What every source has."""

from abc import ABC, abstractmethod
from pathlib import Path, PurePosixPath
from typing import Annotated

from pydantic import AfterValidator, Field

from bench.typed import Strict


class SourceError(Exception):
    """Something could not be fetched, or is not whole; the message is one line that names it."""


def _inside(path: str) -> str:
    parts = PurePosixPath(path).parts
    if not parts or path.startswith("/") or ".." in parts or str(PurePosixPath(*parts)) != path:
        raise ValueError("allowed: a relative path with forward slashes and without '..'")
    return path


RelativePath = Annotated[str, AfterValidator(_inside)]


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
