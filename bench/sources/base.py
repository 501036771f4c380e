"""What every source has, and how it becomes a folder that is whole or not there."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Annotated

from pydantic import AfterValidator, Field

from bench.files import whole, write_json
from bench.origin import MANIFEST, STAGE_FILE, describe, is_described
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


@contextmanager
def staged(destination: Path) -> Iterator[Path]:
    """Yield an empty folder that becomes ``destination`` when the block succeeds.

    Raises:
        SourceError: when the disk refuses.
    """
    try:
        with whole(destination) as folder:
            folder.mkdir()
            yield folder
    except OSError as error:
        raise SourceError(f"{destination}: cannot be written: {error.strerror or error}") from error


def write_manifest(
    folder: Path, source: BaseSource, converted_from: dict[str, dict] | None = None
) -> dict:
    """Write ``manifest.json`` of a fetched folder: its source as configured, and the digest of
    every file; return what it says.

    Args:
        folder: with all of its files.
        source: that they come from.
        converted_from: SHA-256 and bytes of the files that a model was converted from, by the
            relative paths under which they were fetched.
    """
    manifest = {
        "source": source.model_dump(mode="json"),
        "files": describe(folder),
        "converted_from": converted_from or {},
    }
    write_json(folder / MANIFEST, manifest)
    return manifest


def fetch(source: BaseSource, destination: Path) -> dict:
    """Bring the files of ``source`` into ``destination``, with a manifest, which is returned.

    The folder appears when everything is there and was checked, and replaces what was there.

    Raises:
        SourceError: one line that names what failed; nothing is left behind.
    """
    with staged(destination) as folder:
        source.retrieve(folder)
        return write_manifest(folder, source)
