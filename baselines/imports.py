"""Which source files decide what a module does: it, and what it imports of the project."""

import ast
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("seft", "baselines", "bench")


def imported(files: Iterable[Path], without: tuple[str, ...] = ()) -> list[Path]:
    """Source files and all that they import of the project, in order of their paths.

    Imports inside functions count, those for type checkers alone do not. What a package exports
    by name only when it is asked for is not seen: import it from its module.

    Args:
        files: to begin with.
        without: files and folders, relative to the project, that are left out with what only
            they import.
    """
    found: set[Path] = set()
    left = [Path(file) for file in files]
    while left:
        file = left.pop()
        if file not in found and not _lies_in(file, without):
            found.add(file)
            left += _imports(file)
    return sorted(found)


@cache
def _lies_in(file: Path, places: tuple[str, ...]) -> bool:
    return any(file.is_relative_to(ROOT / place) for place in places)


@cache
def _imports(file: Path) -> tuple[Path, ...]:
    if file.suffix != ".py":
        return ()
    modules = _modules(ast.parse(file.read_text(encoding="utf-8")))
    return tuple(path for path in map(_file, modules) if path is not None)


def _modules(node: ast.AST) -> Iterator[str]:
    """Names of modules, and what may be one, that code imports."""
    match node:
        case ast.Import():
            yield from (alias.name for alias in node.names)
        case ast.ImportFrom():
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        case ast.If(test=ast.Name(id="TYPE_CHECKING")):
            pass
        case _:
            for child in ast.iter_child_nodes(node):
                yield from _modules(child)


def _file(module: str) -> Path | None:
    """The file of a module of the project; None for any other name."""
    if module.partition(".")[0] not in PACKAGES:
        return None
    path = ROOT.joinpath(*module.split("."))
    candidates = (path.with_name(f"{path.name}.py"), path / "__init__.py")
    return next((file for file in candidates if file.is_file()), None)
