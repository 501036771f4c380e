"""Folders that are either whole or not there."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.files import whole
from bench.sources.base import BaseSource, SourceError
from bench.sources.manifest import Manifest


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


def fetch(source: BaseSource, destination: Path) -> Manifest:
    """Bring the files of ``source`` into ``destination``, with a ``manifest.json``.

    The folder appears when everything is there and was checked, and replaces what was there.

    Raises:
        SourceError: one line that names what failed; nothing is left behind.
    """
    with staged(destination) as folder:
        source.retrieve(folder)
        return Manifest.write(folder, source)
