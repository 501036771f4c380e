"""Files that are already on the machine are linked, not copied."""

from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated

from pydantic import Field

from bench.sources.base import SourceError
from bench.sources.manifest import MANIFEST
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


def link_files(origin: Path, patterns: list[str], folder: Path) -> None:
    """Link every file of the folder ``origin`` that matches a pattern into ``folder``.

    A ``manifest.json`` at the top of ``origin`` is left out: the name is taken by our own.

    Raises:
        SourceError: when nothing matches.
    """
    linked = 0
    for path in sorted(origin.rglob("*")):
        name = path.relative_to(origin).as_posix()
        wanted = any(fnmatchcase(name, pattern) for pattern in patterns)
        if wanted and name != MANIFEST and path.is_file():
            link = folder / name
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(path.resolve())
            linked += 1
    if not linked:
        raise SourceError(f"{origin}: no file matches {', '.join(patterns)}")
