"""What readers have in common, and the reader of items that are uniform already."""

import json
from codecs import BOM_UTF8
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from bench.data.forms import DataError, check_item
from bench.data.items import identifier
from bench.documents import each_once


def jsonl(path: Path, skipped: Counter) -> Iterator[dict]:
    """Your own data: one uniform item a line, taken as it is; an ``id`` is added if missing."""
    with path.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            try:
                if number == 1:
                    line = line.removeprefix(BOM_UTF8)
                item = json.loads(_decoded(line), object_pairs_hook=each_once)
                check_item(item)
                item = {"id": identifier(item), **item}
            except (ValueError, RecursionError) as error:
                raise DataError(f"{path}, line {number}: {error}") from error
            yield item


def _decoded(line: bytes) -> str:
    try:
        text = line.decode()
    except UnicodeDecodeError as error:
        found = error.object[error.start : error.start + 1]
        raise DataError(f"byte {error.start + 1} is {found!r}: allowed: UTF-8") from None
    if not text.strip():
        raise DataError("empty: allowed: an item a line")
    return text


def load_json(path: Path) -> dict | list:
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: not JSON in UTF-8: {error}") from error


def make_item(group: str | None = None, **fields) -> dict:
    """An item, checked.

    Raises:
        ItemError: one of its fields is not as it must be.
    """
    groups = {} if group is None else {"group": group}
    check_item({**groups, **fields})
    return {"id": identifier(fields), **groups, **fields}
