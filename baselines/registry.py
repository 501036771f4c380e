"""Registries: a method's name, and where its class is defined."""

import inspect
from collections.abc import Iterator, Mapping
from importlib import import_module
from pathlib import Path


class Registry(Mapping):
    """Read-only mapping from a method's name to its class.

    Entries are written as ``"package.module:Class"`` and imported when first asked for, so that
    listing the names costs no import of torch.
    """

    def __init__(self, kind: str, entries: dict[str, str]):
        self.kind = kind
        self._entries = entries

    def __getitem__(self, name: str) -> type:
        try:
            module, _, attribute = self._entries[name].partition(":")
        except KeyError:
            raise KeyError(
                f"unknown {self.kind} {name!r}; known: {', '.join(self._entries)}"
            ) from None
        return getattr(import_module(module), attribute)

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def sources(self, name: str) -> list[Path]:
        """The source files that define a method: its class, its base classes, and what the class
        names in ``extra_sources`` (packages or modules whose code it runs).
        """
        cls = self[name]
        files = {
            Path(inspect.getsourcefile(base))
            for base in cls.__mro__
            if base.__module__.partition(".")[0] == cls.__module__.partition(".")[0]
        }
        for module in getattr(cls, "extra_sources", ()):
            path = Path(import_module(module).__file__)
            files.update(path.parent.glob("*.py") if path.name == "__init__.py" else [path])
        return sorted(files)
