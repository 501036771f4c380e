"""Folders that are either whole or not there."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.files import whole, write_json
from bench.origin import MANIFEST, describe
from bench.sources.base import BaseSource, SourceError


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
