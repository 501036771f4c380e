"""What made it: each folder or file between stages says what it holds and what it was made from.

Its *marker* is a JSON file: ``stage.json`` or ``manifest.json`` in a folder, and beside a file the
one with the same stem. It has ``files`` (SHA-256 and bytes of each) and ``made_from``: the
identities of the inputs and the part of the configuration that decided it; of what was fetched, the
``source``. It names no times and no folders of other stages, so a copy elsewhere is as good.

Who reads something calls :func:`verify` first, with what it asks for. To read large files whenever
they are used would take longer than many a job, so sizes and times of files whose digest is known
are kept beside them (``.seen.json``), and a file is read where these differ.
"""

import hashlib
import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path, PurePath
from typing import Any

from tqdm import tqdm

from bench.files import UnreadableError, advising, read_json, write_json
from bench.typed import Strict, read_as

MARKERS = STAGE_FILE, MANIFEST = "stage.json", "manifest.json"
SEEN = ".seen.json"
ABSENT = object()


class OriginError(UnreadableError):
    """Something is not what its maker left, or not made from what is asked; one line."""

    def __init__(self, path: str | Path, reason: str):
        super().__init__(path, f"{reason}; remove it and run again")


def sha256(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest_of(value: Any) -> str:
    """The SHA-256 of what JSON can hold, whatever the order of its keys."""
    canonical = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


def describe(path: str | Path) -> dict[str, dict]:
    """SHA-256 and bytes of each file of a folder, or of one file, by relative name.

    A folder's marker and hidden files are left out. All are read.
    """
    return _digests(Path(path), _files(Path(path)), whole=True)


def mark(path: str | Path, made_from: dict, **more) -> None:
    """Write the marker of a file.

    Args:
        path: of the file.
        made_from: what it was made from.
        **more: what else the marker says.
    """
    write_json(_marker(Path(path)), {**more, "files": describe(path), "made_from": made_from})


def identity(path: str | Path) -> str:
    """SHA-256 that stands for what a folder or file holds, by its marker."""
    return contents_identity(_read(Path(path))["files"])


def contents_identity(files: Mapping[str, dict]) -> str:
    """:func:`identity`, of the ``files`` of a marker."""
    return digest_of({name: entry["sha256"] for name, entry in files.items()})


def source_of(folder: str | Path) -> dict | None:
    """The source, as it was configured then, of a folder that was fetched; None where it does not
    say so.
    """
    try:
        content = read_json(Path(folder) / MANIFEST)
    except UnreadableError:
        return None
    return content.get("source") if isinstance(content, dict) else None


def code_identity(listing: str | Path | None) -> str | None:
    """SHA-256 of a listing of source files; None without one."""
    return None if listing is None else sha256(Path(listing))


def verify(path: str | Path, asked: dict | None = None, *, whole: bool = False) -> dict:
    """Check that something is what its maker left, made from what is asked; return its marker.

    Args:
        path: a folder or file with a marker.
        asked: expected entries of ``made_from``; those that are not asked for may be anything.
        whole: whether to read every file, though size and time are as they were.

    Raises:
        OriginError: one line that names what differs, and what to do.
    """
    path = Path(path)
    marker = _read(path)
    _compare_files(path, marker["files"], whole)
    compare(path, marker["made_from"], asked or {})
    return marker


def compare(path: str | Path, made_from: dict, asked: dict) -> None:
    """Check that something was made from what is asked.

    Args:
        path: of it.
        made_from: what it says.
        asked: expected entries; those that are not asked for may be anything.

    Raises:
        OriginError: one line that names the first key that differs, and what to do.
    """
    # As JSON holds it: lists for tuples.
    for key, value in json.loads(json.dumps(asked)).items():
        difference = first_difference(made_from.get(key, ABSENT), value, key)
        if difference is not None:
            what, found, wanted = difference
            raise OriginError(path, f"made with {what} = {found}, asked: {wanted}")


def first_difference(one: Any, other: Any, key: str) -> tuple[str, str, str] | None:
    """The first key at which two values differ, and both to read; None if they do not."""
    if isinstance(one, dict) and isinstance(other, dict):
        names = {**one, **other}
        pairs = ((f"{key}.{n}", one.get(n, ABSENT), other.get(n, ABSENT)) for n in names)
        return next(filter(None, (first_difference(a, b, name) for name, a, b in pairs)), None)
    return None if one == other else (key, _shown(one), _shown(other))


def _shown(value: Any) -> str:
    text = "nothing" if value is ABSENT else json.dumps(value)
    # A digest is told from another one by its beginning.
    if isinstance(value, str) and len(value) == 64:
        text = value[:12]
    return text if len(text) <= 80 else f"{text[:77]}..."


def _marker(path: Path) -> Path:
    if path.is_dir():
        stage = path / STAGE_FILE
        return stage if stage.is_file() else path / MANIFEST
    return path.with_suffix(".json")


def _read(path: Path) -> dict:
    marker = _marker(path)
    if not marker.is_file():
        raise OriginError(path, f"has no {marker.name}" if path.exists() else "is not there")
    with advising(f"remove {path} and run again"):
        content = read_json(marker)
    files = content.get("files") if isinstance(content, dict) else None
    if not isinstance(files, dict) or not content.keys() & {"made_from", "source"}:
        raise OriginError(path, "made by an earlier version, which did not say from what")
    # What is fetched is made from its source.
    content = {"made_from": {"source": content.get("source")}, **content}
    if not isinstance(content["made_from"], dict) or not all(map(_is_entry, files.values())):
        raise OriginError(path, f"{marker.name} is damaged")
    return content


def _is_entry(found: Any) -> bool:
    """Whether it is what a marker says of a file."""
    return isinstance(found, dict) and isinstance(found.get("sha256"), str) and "bytes" in found


def _files(path: Path) -> dict[str, Path]:
    if not path.is_dir():
        return {path.name: path} if path.is_file() else {}
    found = ((file.relative_to(path), file) for file in sorted(path.rglob("*")) if file.is_file())
    return {name.as_posix(): file for name, file in found if is_described(name)}


def is_described(name: PurePath) -> bool:
    """Whether a marker says something of a file with this name in its folder."""
    return name.as_posix() not in MARKERS and not any(part.startswith(".") for part in name.parts)


def _compare_files(path: Path, expected: dict[str, dict], whole: bool) -> None:
    present = _files(path)
    found = _digests(path, {n: f for n, f in present.items() if n in expected}, whole)
    for name, entry in expected.items():
        if name not in found:
            raise OriginError(path, f"{name} is missing")
        if found[name]["sha256"] != entry["sha256"]:
            digests = f"its SHA-256 is {found[name]['sha256'][:12]}, not {entry['sha256'][:12]}"
            raise OriginError(path, f"{name} has changed since it was written ({digests})")
    for name in present.keys() - expected.keys():
        raise OriginError(path, f"{name} was not there when it was written")


def _digests(path: Path, files: Mapping[str, Path], whole: bool) -> dict[str, dict]:
    """Digests of files, of which those are read whose size or time is not as it was seen."""
    seen = (path if path.is_dir() else path.parent) / SEEN
    before = read_seen(seen)
    found = seen_files(files, {} if whole else before)
    after = before | found
    if after != before:
        # Whoever may not write here reads the files each time.
        with suppress(OSError):
            write_json(seen, after)
    return {n: {"sha256": entry["sha256"], "bytes": entry["bytes"]} for n, entry in found.items()}


class _Seen(Strict):
    """How a file looked when its digest was taken."""

    bytes: int
    time: int
    sha256: str


def read_seen(path: Path) -> dict[str, dict]:
    """What :func:`seen_files` returned earlier; nothing where that is not there, or damaged."""
    try:
        return read_as(dict[str, _Seen], path)
    except UnreadableError:
        return {}


def seen_files(files: Mapping[str, Path], before: Mapping[str, dict]) -> dict[str, dict]:
    """Size, time and SHA-256 of files, of which those are read that do not look as before.

    Args:
        files: by name.
        before: what this returned of them earlier.
    """
    looks = {name: _looks(file) for name, file in files.items()}
    known = {
        name: before[name] for name in files if looks[name].items() <= before.get(name, {}).items()
    }
    unknown = [name for name in files if name not in known]
    bar = tqdm(unknown, desc="sha256", unit="file", delay=1)
    read = {name: looks[name] | {"sha256": sha256(files[name])} for name in bar}
    return {name: (known | read)[name] for name in files}


def _looks(file: Path) -> dict:
    """Size and time of a file; of a link, those of the file behind it."""
    found = file.stat()
    return {"bytes": found.st_size, "time": found.st_mtime_ns}
