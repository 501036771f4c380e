"""Files that are either whole or not there: written under a temporary name, then renamed."""

import errno
import gzip
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def whole(path: str | Path) -> Iterator[Path]:
    """Yield a temporary sibling of ``path``; when the block succeeds, rename it to ``path``.

    The block may create a file or a folder there. On an error nothing is left behind, and what
    was at ``path`` before is untouched.

    Raises:
        ValueError: the path leads upwards, or the working folder lies in it.
    """
    path = Path(path)
    _check_own(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    remove(temporary)
    try:
        yield temporary
        if temporary.is_dir():
            remove(path)
        temporary.replace(path)
    finally:
        remove(temporary)


# Of a file that does not fit, what fits is written: less than this is left then.
FULL = 2**20


@contextmanager
def naming_full_disk(folder: str | Path) -> Iterator[None]:
    """Raise ``OSError`` (no space left) for an error while there is none left in ``folder``.

    Libraries that write tensors often do not say why they could not.
    """
    try:
        yield
    except Exception as error:
        if shutil.disk_usage(folder).free >= FULL:
            raise
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder)) from error


def remove(path: Path) -> None:
    """Remove a file or a folder, if it is there.

    Raises:
        ValueError: the path leads upwards, or the working folder lies in it.
    """
    _check_own(path)
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _check_own(path: Path) -> None:
    # Of a name in a path that is none, such as `..`, a folder would be removed that is not meant.
    if ".." in path.parts or Path.cwd().is_relative_to(path.absolute()):
        raise ValueError(f"{path}: not removed; allowed: a path that does not lead upwards")


def write_json(path: str | Path, value) -> None:
    """Write ``value`` as indented JSON; NaN and infinity are refused (missing is null)."""
    text = json.dumps(value, indent=2, allow_nan=False) + "\n"
    with whole(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def read_json(path: str | Path):
    return json.loads(Path(path).read_text(encoding="utf-8"))


def write_csv(path: str | Path, table) -> None:
    """Write a pandas table without its index."""
    with whole(path) as temporary:
        table.to_csv(temporary, index=False)


def write_json_lines(path: str | Path, rows) -> None:
    """Write one JSON object a line, gzipped without a time stamp (equal rows, equal bytes)."""
    with (
        whole(path) as temporary,
        temporary.open("wb") as raw,
        gzip.GzipFile(filename="", mode="wb", fileobj=raw, mtime=0) as packed,
    ):
        for row in rows:
            packed.write(json.dumps(row, allow_nan=False).encode() + b"\n")


def read_json_lines(path: str | Path) -> list[dict]:
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]
