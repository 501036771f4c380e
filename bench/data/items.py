"""What is done with single items, whatever their form."""

import json
from collections.abc import Iterable, Iterator
from hashlib import blake2b
from pathlib import Path
from typing import Any

from bench.data.forms import Item, folded, form_of


def content(item: dict) -> dict:
    """All that ``item`` says, its own fields too: a task may ask of them."""
    return {field: value for field, value in item.items() if field not in Item.model_fields}


def own_texts(item: dict) -> list[str]:
    """The texts of the fields of its own, those inside lists and objects too."""
    form = form_of(item)
    others = [value for field, value in content(item).items() if field not in form]
    return list(_texts(others))


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _texts(part)


def document(item: dict) -> tuple[str, str]:
    """An item as text to learn: what is given, and what follows; the right answer filled in.

    A text and a sentence have nothing that is given.

    Raises:
        ItemError: when it has none of the forms.
    """
    form = form_of(item)
    if "text" in form:
        return "", item["text"]
    if "prompt" in form:
        return item["prompt"], item["response"]
    if "sentence" in form:
        return "", item["sentence"].replace("_", item["options"][item["answer"]])
    return item["question"], " " + item["choices"][item["answer"]]


def same_text(item: dict) -> str:
    """Equal for items that are repeats: all of their content, as :func:`folded`."""
    parts = content(item).items()
    alike = {field: folded(part) if isinstance(part, str) else part for field, part in parts}
    return json.dumps(alike, sort_keys=True)


def digest(text: str) -> str:
    """Sixteen hexadecimal digits that depend on ``text`` alone."""
    # Half a character, which who checks the item refuses by its field, is no reason to fail here.
    return blake2b(text.encode(errors="surrogatepass"), digest_size=8).hexdigest()


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
