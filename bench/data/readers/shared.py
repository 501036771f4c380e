"""What readers have in common, and the reader of items that are uniform already."""

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from bench.data.items import DataError, content, identifier


def jsonl(path: Path, skipped: Counter) -> Iterator[dict]:
    """Your own data: one uniform item a line, taken as it is; an ``id`` is added if missing."""
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, start=1):
            try:
                item = json.loads(line)
                content(item)
            except (json.JSONDecodeError, DataError) as error:
                raise DataError(f"{path}, line {number}: {error}") from error
            yield {"id": identifier(item), **item}


def load_json(path: Path) -> dict | list:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise DataError(f"{path}: not JSON: {error}") from error


def make_item(group: str | None = None, **fields) -> dict:
    groups = {} if group is None else {"group": group}
    return {"id": identifier(fields), **groups, **fields}
