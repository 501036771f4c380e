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

    def file(self, name: str) -> Path:
        """The source file of the class of a method."""
        return Path(inspect.getsourcefile(self[name]))
