"""Files that are either whole or not there: written under a temporary name, then renamed."""

import errno
import gzip
import json
import os
import re
import shutil
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

# Columns of tables that hold names, of which one may look like a number, or like nothing.
NAMES = ("model", "model_here", "pruner", "pattern", "budget", "repair", "repair_a", "repair_b")
NAMES += ("task", "origin")


class UnreadableError(ValueError):
    """A file that is not what it should be: damaged, say.

    Args:
        path: of the file.
        reason: what is wrong with it, and what to do; one line.
    """

    def __init__(self, path: str | Path, reason: str):
        super().__init__(f"{path}: {reason}")
        self.path = path
        self.reason = reason


@contextmanager
def whole(path: str | Path) -> Iterator[Path]:
    """Yield a temporary sibling of ``path``; when the block succeeds, rename it to ``path``.

    The block may create a file or a folder there. On an error nothing is left behind, and what
    was at ``path`` before is untouched. What a killed process left of the same path is removed:
    one at a time writes it.

    Raises:
        ValueError: the path leads upwards, or the working folder lies in it.
    """
    path = Path(path)
    _check_own(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    left = re.compile(rf"\.{re.escape(path.name)}\.\d+\.tmp")
    for sibling in path.parent.iterdir():
        if left.fullmatch(sibling.name):
            remove(sibling)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        settle(temporary, path)
    finally:
        remove(temporary)


def settle(written: Path, path: Path) -> None:
    """Rename a file or a folder to ``path``, on the disk too: a power cut leaves it whole or not.

    A system may write the name before the content, unless the content is flushed first.
    """
    for folder, _, files in os.walk(written, topdown=False):
        for name in files:
            _flush(Path(folder, name))
        _flush(Path(folder))
    if written.is_dir():
        remove(path)
    else:
        _flush(written)
    written.replace(path)
    _flush(path.parent)


def _flush(path: Path) -> None:
    # What a link leads to was not written here.
    if path.is_symlink():
        return
    try:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        # Other systems refuse to flush a folder, or what is open for reading only.
        if error.errno in (errno.EIO, errno.ENOSPC, errno.EDQUOT):
            raise


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
    """What a JSON file holds.

    Raises:
        UnreadableError: it is not there, not JSON, or not UTF-8.
    """
    with _naming(path):
        return json.loads(Path(path).read_text(encoding="utf-8"))


@contextmanager
def _naming(path: str | Path) -> Iterator[None]:
    """Name the file in what is raised when it is parsed."""
    try:
        yield
    # Errors of JSON and of UTF-8 are of this kind, and so are numbers of thousands of digits.
    except (ValueError, RecursionError) as error:
        raise UnreadableError(path, f"no JSON: {error}") from error
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise UnreadableError(path, f"cannot be unpacked: {error}") from error
    except OSError as error:
        raise UnreadableError(path, error.strerror or str(error)) from error


@contextmanager
def advising(advice: str) -> Iterator[None]:
    """Add what to do to an ``UnreadableError``."""
    try:
        yield
    except UnreadableError as error:
        raise UnreadableError(error.path, f"{error.reason}; {advice}") from error


def read_table(path: str | Path) -> "pd.DataFrame":
    """A table that :func:`write_csv` wrote; names stay text, whatever they look like: an empty cell
    alone is missing.
    """
    import pandas as pd

    names = dict.fromkeys(NAMES, str)
    return pd.read_csv(path, converters=names, keep_default_na=False, na_values=[""])


def read_csv(path: str | Path) -> "pd.DataFrame":
    """A table that others wrote.

    Raises:
        UnreadableError: it is no table.
    """
    import pandas as pd

    try:
        return pd.read_csv(path)
    except (OSError, ValueError) as error:
        raise UnreadableError(path, f"no table: {error}") from None


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
    """What :func:`write_json_lines` wrote.

    Raises:
        UnreadableError: it is not there, cannot be unpacked, or a line is not JSON.
    """
    with _naming(path), gzip.open(path, "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]
