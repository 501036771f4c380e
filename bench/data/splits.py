"""Disjoint splits: decided by the hash of an item's group, before anything else is done."""

from collections.abc import Iterable, Iterator, Mapping
from hashlib import blake2b
from itertools import groupby

from bench.data.items import DataError, document, normalise

START = 5  # words


def position(seed: int, name: str) -> float:
    """A number in [0, 1) that depends on ``seed`` and ``name`` alone."""
    return int.from_bytes(blake2b(f"{seed} {name}".encode(), digest_size=6).digest()) / 2**48


def group_of(item: dict) -> str:
    """What must not straddle two splits: the item's group, or the item alone."""
    return item.get("group", item["id"])


def split(
    items: Iterable[dict], fractions: Mapping[str, float], seed: int
) -> dict[str, list[dict]]:
    """Divide items so that the items of a group stay together.

    A group's hash is its place in [0, 1), which the fractions cut into splits in their order: an
    item that joins or leaves the data moves no other item. Inside a split the groups stand in the
    order of their places, which is random and fixed by the seed; the items of a group stay in
    reading order.
    """
    splits = {name: [] for name in fractions}
    names = list(fractions)
    ends = [sum(list(fractions.values())[: index + 1]) for index in range(len(names))]
    ends[-1] = 1.0
    placed = sorted(
        ((position(seed, group_of(item)), item) for item in items), key=lambda pair: pair[0]
    )
    for place, item in placed:
        splits[next(name for name, end in zip(names, ends, strict=True) if place < end)].append(
            item
        )
    return splits


def without_repeats(items: Iterable[dict]) -> tuple[list[dict], int]:
    """The items whose text is not that of an earlier item, and how many were left out."""
    first = {}
    count = 0
    for item in items:
        count += 1
        # The blank of a sentence is filled in, so that twins of one template stay two texts.
        first.setdefault(normalise("".join(document(item))), item)
    return list(first.values()), count - len(first)


def articles(items: Iterable[dict], characters: int) -> list[dict]:
    """One text an article: its paragraphs from the first, cut at the last boundary of a paragraph,
    else of a sentence, else of a word, before ``characters`` characters.
    """
    documents = []
    for group, paragraphs in groupby(items, key=group_of):
        text = "\n\n".join(paragraph["text"] for paragraph in paragraphs)
        documents.append({"id": group, "text": _cut(text, characters)})
    return documents


def _cut(text: str, characters: int) -> str:
    if len(text) <= characters:
        return text
    for boundary in ("\n\n", ". ", " "):
        # The mark that ends a sentence stays, the white space goes.
        kept = len(boundary.rstrip())
        end = text.rfind(boundary, 0, characters - kept + len(boundary))
        if end > 0:
            return text[: end + kept]
    return text[:characters]


def check_disjoint(
    seen: Mapping[str, Iterable[dict]], tested: Mapping[str, Iterable[dict]]
) -> None:
    """Make sure that no text of ``tested`` occurs in a text of ``seen``.

    Texts are compared as lower case words. A text occurs where one of its paragraphs does (one of
    fewer than five words, or so marked, is a heading, which says nothing), any other item where all
    of it does: a sentence with the right word filled in, a question or a prompt without the answer.

    Args:
        seen: items that are trained on, by the name of their set.
        tested: items that are measured on, by the name of their set.

    Raises:
        DataError: one line that names the first items found and how many there are.
    """
    # Each text that must not occur, under its first words: a dictionary look-up at each word of
    # the training text finds the few places where a comparison is worth it.
    starts: dict[tuple[str, ...], list[tuple[str, list[str]]]] = {}
    for name, items in tested.items():
        for item in items:
            for text in _measured(item):
                words = normalise(text).split()
                starts.setdefault(tuple(words[:START]), []).append((f"{name}/{item['id']}", words))
    lengths = {len(start) for start in starts}
    found = dict.fromkeys(
        label
        for items in seen.values()
        for item in items
        for label in _occurring(normalise(" ".join(document(item))).split(), starts, lengths)
    )
    if found:
        raise DataError(
            f"{len(found)} evaluation items occur in training text: {', '.join(list(found)[:5])}"
        )


def _occurring(
    text: list[str],
    starts: Mapping[tuple[str, ...], list[tuple[str, list[str]]]],
    lengths: set[int],
) -> Iterator[str]:
    """The labels of the word sequences that occur in ``text``."""
    for length in lengths:
        for place in range(len(text) - length + 1):
            for label, words in starts.get(tuple(text[place : place + length]), ()):
                if text[place : place + len(words)] == words:
                    yield label


def _measured(item: dict) -> list[str]:
    """The pieces of an item that must not occur in training text."""
    if "text" in item:
        paragraphs = item["text"].split("\n\n")
        return [text for text in paragraphs if not _is_heading(text)]
    given, rest = document(item)
    return [given or rest]


def _is_heading(paragraph: str) -> bool:
    """Whether a paragraph is a heading, which says nothing; WikiText marks its own."""
    return paragraph.strip().startswith("= ") or len(normalise(paragraph).split()) < START
