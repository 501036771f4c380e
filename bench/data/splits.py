"""Disjoint splits: decided by the hash of an item's group, before anything else is done."""

from bisect import bisect
from collections.abc import Iterable, Mapping
from hashlib import blake2b
from itertools import accumulate
from operator import itemgetter

from bench.data.items import digest, document, same_text
from bench.data.overlaps import is_enough, tokens


def position(seed: int, name: str) -> float:
    """A number in [0, 1) that depends on ``seed`` and ``name`` alone."""
    return int.from_bytes(blake2b(f"{seed} {name}".encode(), digest_size=6).digest()) / 2**48


def group_of(item: dict) -> str:
    """What must not straddle two splits: the item's group, or the item alone."""
    return item.get("group", item["id"])


def split(
    items: Iterable[dict], fractions: Mapping[str, float], seed: int
) -> dict[str, list[dict]]:
    """Divide items so that the items of a group, and texts with the same words, stay together.

    A group's hash is its place in [0, 1), which the fractions cut into splits in their order: an
    item that joins or leaves the data moves no other item. Inside a split the groups stand in the
    order of their places, which is random and fixed by the seed; the items of a group stay in
    reading order.
    """
    items = list(items)
    merged = merged_groups(items)
    # What is left is the last split's, whatever the fractions add up to.
    *ends, _ = accumulate(fractions.values())
    splits = {name: [] for name in fractions}
    groups = map(group_of, items)
    places = (position(seed, merged.get(group, group)) for group in groups)
    for place, item in sorted(zip(places, items, strict=True), key=itemgetter(0)):
        splits[[*fractions][bisect(ends, place)]].append(item)
    return splits


def without_repeats(items: Iterable[dict]) -> tuple[list[dict], int]:
    """The items whose content is not that of an earlier item, and how many were left out."""
    first = {}
    count = 0
    for item in items:
        count += 1
        first.setdefault(same_text(item), item)
    return list(first.values()), count - len(first)


def merged_groups(items: Iterable[dict]) -> dict[str, str]:
    """Groups that share a text, by its words: the name of each, and the name of one for all.

    Else one of the texts could be trained on and another measured on. A question or a prompt counts
    without its answer; what is too short to be looked for does not count.
    """
    first: dict[str, str] = {}
    merged: dict[str, str] = {}

    def name(group: str) -> str:
        while group in merged:
            group = merged[group]
        return group

    for item in items:
        given, rest = document(item)
        words = tokens(given or rest)
        if is_enough(words):
            group = name(group_of(item))
            other = name(first.setdefault(digest(" ".join(words)), group))
            if group != other:
                merged[group] = other
    return {group: name(group) for group in merged}


def articles(items: Iterable[dict], characters: int) -> list[dict]:
    """One text an article: its paragraphs from the first, wherever they stand, cut at the last
    boundary of a paragraph, else of a sentence, else of a word, before ``characters`` characters.
    """
    paragraphs: dict[str, list[str]] = {}
    for item in items:
        paragraphs.setdefault(group_of(item), []).append(item["text"])
    return [
        {"id": group, "text": _cut("\n\n".join(texts), characters)}
        for group, texts in paragraphs.items()
    ]


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
