"""The data stage: raw files in, splits and their manifest out."""

from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import islice
from math import isclose
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, PositiveInt
from tqdm import tqdm

from bench.data.forms import Columns, DataError, ItemError
from bench.data.items import write_items
from bench.data.readers import READERS
from bench.data.splits import articles, split, without_repeats
from bench.files import whole, write_json
from bench.origin import MANIFEST, describe, identity, verify
from bench.sources.base import FetchedPath
from bench.typed import EachOnce, Strict

SplitName = Literal["train", "validation", "test"]
Fraction = Annotated[float, Field(gt=0, le=1)]

SEED = 0
"""Of the division into splits and of their order; manifests hold it."""


def _known(reader: str) -> str:
    if reader not in READERS:
        raise ValueError(f"unknown reader; allowed: {', '.join(READERS)}")
    return reader


def _whole(fractions: dict[str, float]) -> dict[str, float]:
    if not isclose(sum(fractions.values()), 1):
        raise ValueError("allowed: fractions that add up to 1")
    return fractions


class DataSpec(Strict):
    """A data set: an entry of the configuration."""

    source: str = Field(description="Name of an entry of `sources`.")
    files: Annotated[list[FetchedPath], Field(min_length=1), EachOnce] = Field(
        description="Files of that source which the set is read from."
    )
    reader: Annotated[str, AfterValidator(_known)] = Field(
        description=f"Format of the files: {', '.join(READERS)}."
    )
    splits: Annotated[dict[SplitName, Fraction], Field(min_length=1), AfterValidator(_whole)] = (
        Field(
            description="Share of each split. Items that belong together (paragraphs of an "
            "article, twin sentences) never straddle two.",
        )
    )
    licence: str = Field(description="Licence of the text.")
    limit: PositiveInt | None = Field(
        default=None,
        description="Only the first items of the files, in their order; the rest is not read.",
    )
    characters: PositiveInt | None = Field(
        default=None, description="Exact number of characters of all texts, checked when read."
    )
    article_characters: PositiveInt | None = Field(
        default=None,
        description="Join the paragraphs of each article into one text, cut at a boundary to at "
        "most this many characters (for perplexity).",
    )


def prepare(
    name: str,
    spec: DataSpec,
    source: Path,
    destination: Path,
    *,
    asked: dict | None = None,
) -> dict[str, Any]:
    """Write ``<split>.jsonl`` of one set, and a ``manifest.json``.

    Args:
        name: of the set, for messages.
        spec: the set.
        source: the folder that its source was fetched to.
        destination: the folder to make; it appears when all of it is there.
        asked: the source as configured; None for whatever was fetched.

    Returns:
        The manifest: what the set was made from, which is the set and its source as configured and
        the identity of what was fetched; what was skipped and why; items of each split, and size
        and digest of its file.

    Raises:
        DataError: one line, when a file is missing or malformed, when a split is empty, or when two
            items have one id.
        OriginError: what was fetched has changed since, or is of another source.
    """
    fetched = verify(source, None if asked is None else {"source": asked})
    items, skipped = _read(name, spec, source)
    repeated = 0
    # An article has all of its paragraphs, one that another has, too.
    if spec.article_characters is None or "group" not in items[0]:
        items, repeated = without_repeats(items)
    parts = split(items, spec.splits, SEED)
    for part, members in parts.items():
        if not members:
            raise DataError(f"data.{name}.splits: {part!r} gets none of {len(items)} items")
    if spec.article_characters is not None:
        for part, members in parts.items():
            parts[part], more = without_repeats(articles(members, spec.article_characters))
            repeated += more
    if repeated:
        skipped["repeated"] = repeated
    ids = Counter(item["id"] for members in parts.values() for item in members)
    identifier, times = ids.most_common(1)[0]
    if times > 1:
        raise DataError(f"data.{name}: {times} items have the id {identifier!r}")
    with whole(destination) as folder:
        folder.mkdir()
        for part, members in parts.items():
            write_items(folder / f"{part}.jsonl", members)
        manifest = {
            "made_from": {
                "spec": spec.model_dump(mode="json"),
                "source": fetched["made_from"]["source"],
                "fetched": identity(source),
                "seed": SEED,
            },
            "skipped": skipped,
            "items": {part: len(members) for part, members in parts.items()},
            "files": describe(folder),
        }
        write_json(folder / MANIFEST, manifest)
    return manifest


def _read(name: str, spec: DataSpec, source: Path) -> tuple[list[dict], dict[str, int]]:
    """The items of a set, and how many were skipped for which reason."""
    skipped = Counter()
    columns = Columns()
    items = []
    for file in tqdm(spec.files, desc=f"read {name}", unit="file"):
        path = source / file
        if not path.is_file():
            raise DataError(f"data.{name}: source {spec.source!r} has no file {file!r}")
        try:
            wanted = None if spec.limit is None else spec.limit - len(items)
            read = islice(READERS[spec.reader](path, skipped), wanted)
            items.extend(_alike(read, columns, path))
        except ItemError as error:
            raise DataError(f"data.{name}: {path}: {error}") from error
        except DataError:
            raise
        except (KeyError, TypeError, AttributeError, IndexError, ValueError) as error:
            raise DataError(
                f"data.{name}: {file} is not in the format {spec.reader!r}: {error!r}"
            ) from error
    if not items:
        raise DataError(
            f"data.{name}: no items in {', '.join(spec.files)} ({dict(skipped)} skipped)"
        )
    if spec.limit is not None and len(items) < spec.limit:
        raise DataError(f"data.{name}.limit = {spec.limit}: the files have {len(items)} items")
    if spec.article_characters is not None and not all("text" in item for item in items):
        raise DataError(f"data.{name}.article_characters: reader {spec.reader!r} gives no text")
    if spec.characters is not None:
        found = sum(len(item.get("text", "")) for item in items)
        if found != spec.characters:
            raise DataError(f"data.{name}.characters = {spec.characters}: the text has {found}")
    return items, dict(skipped)


def _alike(items: Iterable[dict], columns: Columns, path: Path) -> Iterator[dict]:
    """The items of a file, if they make a table with those before; their ids and groups as text."""
    for number, item in enumerate(items, start=1):
        try:
            columns.check(item)
        except ItemError as error:
            # Only of one's own data, which have an item a line.
            raise DataError(f"{path}, line {number}: {error}") from error
        yield item | {key: str(item[key]) for key in ("id", "group") if key in item}
