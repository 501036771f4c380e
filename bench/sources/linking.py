"""Files that are already on the machine are linked, not copied."""

from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated

from pydantic import Field

from bench.origin import is_described
from bench.sources.base import SourceError
from bench.typed import EachOnce, Text

Patterns = Annotated[
    list[Text],
    EachOnce,
    Field(
        min_length=1,
        description="Shell patterns of the files wanted, matched on the whole relative path.",
    ),
]

# Configuration, weights and tokenizer of a model; JSON data. Not the second copy of the weights
# that many model repositories hold in another format.
WANTED = ["*.json", "*.jsonl", "*.safetensors", "*.model", "*.txt", "*.jinja"]


def matching_files(origin: Path, patterns: list[str]) -> list[str]:
    """Relative paths of the files of the folder ``origin`` that match a pattern, in order.

    Files that a manifest would not name are left out: hidden ones, and those at the top of
    ``origin`` that are named as our own markers.
    """
    return [
        name
        for path in sorted(origin.rglob("*"))
        if any(fnmatchcase(name := path.relative_to(origin).as_posix(), p) for p in patterns)
        and is_described(path.relative_to(origin))
        and path.is_file()
    ]


def link_files(origin: Path, patterns: list[str], folder: Path) -> None:
    """Link every file of the folder ``origin`` that matches a pattern into ``folder``.

    Raises:
        SourceError: when nothing matches.
    """
    names = matching_files(origin, patterns)
    for name in names:
        link = folder / name
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to((origin / name).resolve())
    if not names:
        raise SourceError(f"{origin}: no file matches {', '.join(patterns)}")
