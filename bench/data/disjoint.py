"""The check that nothing is measured on what is trained on, and what it leaves out."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from bench.data.forms import DataError
from bench.data.items import read_items, write_items
from bench.data.overlaps import Overlap, find_overlaps, summary
from bench.files import read_json, whole, write_json
from bench.origin import MANIFEST, digest_of, verify

OverlapRule = Literal["stop", "drop"]


@dataclass(frozen=True)
class Parts:
    """What is read for what: parts of data sets, each named ``set/split``."""

    training: Sequence[str] = ()
    validation: Sequence[str] = ()
    calibration: Sequence[str] = ()
    evaluation: Sequence[str] = ()


def check(
    sets: Sequence[Path],
    manifest: Path,
    parts: Parts,
    pairs_file: Path,
    *,
    overlap: OverlapRule = "stop",
) -> dict[str, Any]:
    """Check that nothing is measured on what is trained, validated or calibrated on, and that
    learning rates are not chosen on what is trained on.

    Args:
        sets: folders that :func:`bench.data.prepare.prepare` made.
        manifest: file to write when all is well: the manifests of the sets, by name; how many pairs
            of items overlap; the ids of the items that are left out for it, by part.
        parts: what is read of the sets, and for what.
        pairs_file: file to write if there are any pairs: each, with its texts (JSON lines).
        overlap: ``stop``, or ``drop`` what is trained, validated or calibrated on.

    Raises:
        DataError: one line that names the items and the file of pairs.
        OriginError: a set has changed since it was made.
    """
    for folder in sets:
        verify(folder)
    folders = {folder.name: folder for folder in sets}

    def read(names: Iterable[str]) -> dict[str, list[dict]]:
        places = {name: name.split("/") for name in names}
        return {n: read_items(folders[s] / f"{part}.jsonl") for n, (s, part) in places.items()}

    training, validation = read(parts.training), read(parts.validation)
    seen = training | validation | read(parts.calibration)
    pairs = find_overlaps(training, validation) + find_overlaps(seen, read(parts.evaluation))
    pairs_file.unlink(missing_ok=True)
    if pairs:
        with whole(pairs_file) as temporary:
            write_items(temporary, map(asdict, pairs))
    if pairs and overlap == "stop":
        raise DataError(
            f"{summary(pairs)}; all pairs, with their texts: {pairs_file}; training.overlap = "
            "'stop'; allowed: no overlap, or 'drop', which leaves out what is trained on"
        )
    checked = {
        "sets": {name: read_json(folder / MANIFEST) for name, folder in folders.items()},
        "overlaps": {"pairs": len(pairs), "dropped": _dropped(pairs, seen)},
    }
    write_json(manifest, checked)
    return checked


def _dropped(pairs: Iterable[Overlap], seen: Mapping[str, list[dict]]) -> dict[str, list[str]]:
    """The ids of the seen items of overlaps, by part."""
    ids: dict[str, set[str]] = {}
    for pair in pairs:
        ids.setdefault(pair.seen, set()).add(pair.seen_id)
    for part, members in seen.items():
        if members and len(ids.get(part, ())) == len(members):
            raise DataError(f"{part}: all {len(members)} items occur in what is measured on")
    return {part: sorted(found) for part, found in sorted(ids.items())}


def read_seen(folder: Path, split: str, checked: str | Path | None) -> list[dict]:
    """The items of a split without those that the check left out.

    Args:
        folder: of the set.
        split: name of the split.
        checked: the manifest that :func:`check` wrote; None where it leaves out nothing.
    """
    dropped = set(_left_out(checked).get(f"{folder.name}/{split}", ()))
    items = read_items(folder / f"{split}.jsonl")
    return [item for item in items if item["id"] not in dropped]


def dropped_identity(checked: str | Path | None, sets: Iterable[str], split: str) -> str:
    """SHA-256 that stands for what the check left out of a split of some data sets.

    Args:
        checked: the manifest that :func:`check` wrote; None where it leaves out nothing.
        sets: names of the sets.
        split: name of the split.
    """
    dropped = _left_out(checked)
    parts = (f"{name}/{split}" for name in sets)
    return digest_of({part: dropped[part] for part in parts if part in dropped})


def _left_out(checked: str | Path | None) -> dict[str, list[str]]:
    return {} if checked is None else read_json(checked)["overlaps"]["dropped"]
