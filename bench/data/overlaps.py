"""Texts to be measured on that occur in texts to be trained on."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from unicodedata import normalize

import regex

from bench.data.items import document, own_texts, same_text

# What is compared: a word with its marks; a character, in scripts without spaces between words; a
# sign, where sums differ by it. White space and punctuation are no difference, nor is a soft hyphen
# or another character that is not seen, nor another form of a letter or a digit, as of full width.
UNSPACED = (
    r"\p{scx=Hani}\p{scx=Hira}\p{scx=Kana}\p{scx=Bopo}\p{scx=Yiii}"
    r"\p{scx=Thai}\p{scx=Laoo}\p{scx=Khmr}\p{scx=Mymr}\p{scx=Lana}\p{scx=Talu}\p{scx=Tale}\p{scx=Tavt}"
)
SIGN = r"\p{Sm}|[-*/%^](?=\s*\d)"
# A mark that several scripts share is a part of its word: İ in lower case has one.
ALONE = rf"[{UNSPACED}]--\p{{Script=Inherited}}"
TOKEN = regex.compile(rf"(?V1)[[{ALONE}]&&\w]|[\w--[{ALONE}]]+|{SIGN}")
TOKEN_IN_ASCII = regex.compile(rf"\w+|{SIGN}")
UNSEEN = regex.compile(r"\p{Default_Ignorable_Code_Point}+")
LETTERS = regex.compile(r"[\p{L}\p{Nd}]+")
# Between paragraphs, whatever ends a line.
BLANK = regex.compile(r"\n\s*\n")
# Shorter texts occur anywhere. Enough are five words, or 13 characters; nine, if they are Han
# characters, of which a word has one or two.
WORTH = (
    (regex.compile(r"\p{Han}"), 8),
    (regex.compile(rf"[{UNSPACED}]"), 5),
    (regex.compile(r"\w"), 13),
)
ENOUGH = 65
START = 5  # tokens that any text has which is long enough
CONTEXT = 100  # characters shown before and after


@dataclass(frozen=True)
class Overlap:
    """A text of a tested item that occurs in a seen one; parts are named ``set/split``."""

    seen: str
    seen_id: str
    seen_text: str
    tested: str
    tested_id: str
    tested_text: str


def tokens(text: str) -> list[str]:
    """What counts when texts are compared, whatever their case and composition."""
    text = _plain(text).casefold()
    return (TOKEN_IN_ASCII if text.isascii() else TOKEN).findall(text)


def _plain(text: str) -> str:
    """A text with one way to write each of its characters, and without those that are not seen."""
    if text.isascii():
        return text
    text = UNSEEN.sub("", normalize("NFC", text))
    return LETTERS.sub(lambda found: normalize("NFKC", found[0]), text)


def is_enough(words: list[str]) -> bool:
    """Whether a text of these tokens is so long that it occurs elsewhere by copying alone."""
    return sum(map(_worth, words)) >= ENOUGH


def find_overlaps(
    seen: Mapping[str, Iterable[dict]], tested: Mapping[str, Iterable[dict]]
) -> list[Overlap]:
    """Each pair of items of which one has a text that occurs in the other.

    A text, and each text in a field of an item's own, occurs where one of its paragraphs does (but
    no heading, as WikiText marks it), any other item where all of it does: a sentence with the
    right word filled in, a question or a prompt without the answer. What has fewer than five words,
    or 13 characters in a script without spaces, is not looked for inside of others: an item all of
    whose texts are so short overlaps with one that says all that it says.

    Args:
        seen: items that are trained on, by the name of their part.
        tested: items that are measured on, by the name of their part.

    Returns:
        The pairs in the order of the seen items, with the text that occurs and what is around it.
    """
    # Each text under its first tokens: a dictionary look-up at each place of the training text
    # finds the few where a comparison is worth it.
    starts, copies = defaultdict(list), defaultdict(list)
    for part, items in tested.items():
        for item in items:
            long = [(w, text) for text in _measured(item) if is_enough(w := tokens(text))]
            for wanted, text in long:
                starts[tuple(wanted[:START])].append((wanted, (part, item["id"], text)))
            if not long and "text" not in item:
                copies[same_text(item)].append((part, item["id"], " ".join(document(item))))
    found = {}
    for part, items in seen.items():
        for item in items:
            text = " ".join(document(item))
            for place, wanted, (name, identifier, measured) in _occurring(tokens(text), starts):
                pair = (part, item["id"], name, identifier)
                if pair not in found:
                    around = _around(text, place, place + len(wanted) - 1)
                    found[pair] = Overlap(part, item["id"], around, name, identifier, measured)
            for name, identifier, measured in copies.get(same_text(item), ()) if copies else ():
                pair = (part, item["id"], name, identifier)
                found[pair] = Overlap(part, item["id"], text, name, identifier, measured)
    return list(found.values())


def summary(overlaps: Iterable[Overlap]) -> str:
    """How many items occur in training text, and which are the first."""
    labels = list(dict.fromkeys(f"{pair.tested}/{pair.tested_id}" for pair in overlaps))
    return f"{len(labels)} evaluation items occur in training text: {', '.join(labels[:5])}"


def _occurring(text: list[str], starts: Mapping[tuple[str, ...], list]) -> Iterator[tuple]:
    """Place and text of each text wanted that occurs in ``text``, and whose it is."""
    for place in range(len(text) - START + 1):
        for wanted, whose in starts.get(tuple(text[place : place + START]), ()):
            if text[place : place + len(wanted)] == wanted:
                yield place, wanted, whose


def _measured(item: dict) -> list[str]:
    """The pieces of an item that must not occur in training text."""
    given, rest = document(item)
    wholes, texts = ([], [rest]) if "text" in item else ([given or rest], [])
    paragraphs = [part for text in [*texts, *own_texts(item)] for part in BLANK.split(text)]
    return wholes + [text for text in paragraphs if not text.strip().startswith("= ")]


@cache
def _worth(token: str) -> int:
    return next((worth for kind, worth in WORTH if kind.match(token)), 0)


def _around(text: str, first: int, last: int) -> str:
    """The text from one token to another, and a little more."""
    text = _plain(text)
    places = [match.span() for match in TOKEN.finditer(text)]
    return text[max(places[first][0] - CONTEXT, 0) : places[last][1] + CONTEXT].strip()
