"""What was fetched: the source as configured, and the digest of every file."""

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from bench.files import read_json, write_json
from bench.origin import MANIFEST, describe, sha256
from bench.sources.base import BaseSource


class FileRecord(BaseModel):
    """Digest and size of one file."""

    model_config = ConfigDict(extra="forbid")

    sha256: str
    bytes: int

    @classmethod
    def of(cls, path: Path) -> "FileRecord":
        return cls(sha256=sha256(path), bytes=path.stat().st_size)


class Manifest(BaseModel):
    """Content of the ``manifest.json`` of a fetched folder."""

    model_config = ConfigDict(extra="forbid")

    source: dict[str, Any] = Field(description="The source, as configured.")
    files: dict[str, FileRecord] = Field(description="Files of the folder, by relative path.")
    converted_from: dict[str, FileRecord] = Field(
        default={}, description="The fetched files that a model was converted from."
    )

    @classmethod
    def read(cls, folder: Path) -> "Manifest":
        return cls.model_validate(read_json(folder / MANIFEST))

    @classmethod
    def write(
        cls, folder: Path, source: BaseSource, converted_from: dict[str, FileRecord] | None = None
    ) -> "Manifest":
        """Describe the files of ``folder``, and put the description beside them."""
        manifest = cls(
            source=source.model_dump(mode="json"),
            files=describe(folder),
            converted_from=converted_from or {},
        )
        write_json(folder / MANIFEST, manifest.model_dump(mode="json"))
        return manifest
