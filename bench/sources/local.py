"""Models and data that are on this machine already: they are linked, not copied."""

from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from bench.origin import MARKERS, is_described
from bench.paths import at_home
from bench.sources.base import BaseSource, SourceError
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


def _stated(path: Any) -> Any:
    # Of an empty text Python makes the working folder.
    if path == "" or (isinstance(path, str) and Path(path).name in MARKERS):
        raise ValueError(
            f"allowed: the path of a folder, or of a file with another name than "
            f"{' and '.join(MARKERS)}, which are taken"
        )
    return path


class PathSource(BaseSource):
    """A local folder or file; it is linked, never copied or changed."""

    source: Literal["path"]
    path: Annotated[Path, BeforeValidator(_stated)] = Field(
        description="The folder, or the one file."
    )
    files: Patterns = WANTED

    @property
    def place(self) -> Path:
        """The path, in the home folder if it begins with `~`."""
        return at_home(self.path)

    def wanted_files(self) -> list[Path]:
        """The files that it stands for now; none where the path does not exist."""
        path = self.place
        if path.is_dir():
            return [path / name for name in matching_files(path, self.files)]
        return [path] if path.is_file() else []

    def retrieve(self, folder: Path) -> None:
        path = self.place
        if path.is_dir():
            link_files(path, self.files, folder)
        elif path.is_file():
            if not is_described(Path(path.name)):
                raise SourceError(f"{self.path}: is hidden; allowed: a name without a dot first")
            (folder / path.name).symlink_to(path.resolve())
        else:
            raise SourceError(f"{self.path}: no such file or folder")
