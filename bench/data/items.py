"""What is done with single items, whatever their form."""

import json
from collections.abc import Iterable
from hashlib import blake2b
from pathlib import Path

from bench.data.forms import folded, form_of


def content(item: dict) -> dict:
    """The fields that make up the form of ``item``, without ``id``, ``group`` and others.

    Raises:
        ItemError: when it has none of the forms.
    """
    return {field: item[field] for field in form_of(item)}


def document(item: dict) -> tuple[str, str]:
    """An item as text to learn: what is given, and what follows; the right answer filled in.

    A text and a sentence have nothing that is given.
    """
    fields = content(item)
    if "text" in fields:
        return "", fields["text"]
    if "prompt" in fields:
        return fields["prompt"], fields["response"]
    if "sentence" in fields:
        return "", fields["sentence"].replace("_", fields["options"][fields["answer"]])
    return fields["question"], " " + fields["choices"][fields["answer"]]


def same_text(item: dict) -> str:
    """Equal for items that are repeats: all of their content, as :func:`folded`."""
    parts = content(item).values()
    return json.dumps([folded(part) if isinstance(part, str) else part for part in parts])


def digest(text: str) -> str:
    """Sixteen hexadecimal digits that depend on ``text`` alone."""
    return blake2b(text.encode(), digest_size=8).hexdigest()


def identifier(item: dict) -> str:
    """The ``id`` of an item: equal for equal content, whatever its order in the file."""
    return digest(json.dumps(content(item), sort_keys=True, ensure_ascii=False))


def read_items(path: str | Path) -> list[dict]:
    """The items of one split."""
    with Path(path).open(encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def write_items(path: Path, items: Iterable[dict]) -> None:
    with path.open("w", encoding="utf-8") as file:
        for item in items:
            file.write(json.dumps(item, ensure_ascii=False) + "\n")
