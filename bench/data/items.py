"""What all items of data have in common."""

import json
import re
from collections.abc import Iterable
from hashlib import blake2b
from pathlib import Path

FORMS = (
    ("text",),
    ("prompt", "response"),
    ("sentence", "options", "answer"),
    ("question", "choices", "answer"),
)


class DataError(ValueError):
    """Data that cannot be used; the message is one line that names it."""


def content(item: dict) -> dict:
    """The fields that make up the form of ``item``, without ``id`` and ``group``.

    Raises:
        DataError: when it has none of the forms.
    """
    for form in FORMS:
        if all(field in item for field in form):
            return {field: item[field] for field in form}
    forms = "; ".join(", ".join(form) for form in FORMS)
    raise DataError(f"an item with the fields {', '.join(item) or 'none'}; allowed: {forms}")


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


def normalise(text: str) -> str:
    """Lower case words with single spaces between: what counts when texts are compared."""
    return " ".join(re.findall(r"\w+", text.lower()))


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
