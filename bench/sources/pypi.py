"""Files out of packages of a Python package index.

A package is an archive with a pinned digest here: it is downloaded and unpacked, never imported,
built or installed.
"""

import os
import subprocess
import sys
import tarfile
import zipfile
import zlib
from ast import literal_eval
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from shutil import copyfileobj
from tempfile import TemporaryDirectory
from typing import IO, Annotated, Literal
from urllib.parse import urlsplit

from pydantic import Field
from tqdm import tqdm

from bench.origin import sha256
from bench.sources.base import BaseSource, Described, FetchedPath, SourceError
from bench.typed import EachOnce, Name, Sha256, Strict, Text

CONNECT_AND_READ_SECONDS = (15, 60)
BAR = {"unit": "B", "unit_scale": True, "unit_divisor": 1024}


class Distribution(Strict):
    """One distribution file of a package, and what is wanted out of it.

    The index is that of the user's pip: ``PIP_INDEX_URL``, pip's configuration, or the public one.
    """

    package: Name = Field(description="Name of the package.")
    version: Text = Field(description="Its version.")
    file: Annotated[str, Field(pattern=r"^[^/]+\.(whl|zip|tar\.gz)$")] = Field(
        description="Name of the distribution file: a wheel or a source distribution."
    )
    sha256: Sha256 = Field(description="SHA-256 of that file; anything else is refused.")
    members: Annotated[list[FetchedPath], Field(min_length=1), EachOnce] = Field(
        description="Files wanted out of it. The folder `name-version/` that encloses everything "
        "in a source distribution is left out of the paths.",
    )

    def unpack(self, folder: Path) -> None:
        """Put the members into ``folder``.

        Raises:
            SourceError: the file cannot be had, is another one, or lacks a member.
        """
        archive = folder / f".{self.file}"
        self._download(archive)
        _check_digest(archive, self.file, self.sha256)
        self._extract(archive, folder)
        archive.unlink()

    def _download(self, path: Path) -> None:
        from pypi_simple import (
            PYPI_SIMPLE_ENDPOINT,
            NoSuchProjectError,
            PyPISimple,
            UnsupportedContentTypeError,
            UnsupportedRepoVersionError,
            tqdm_progress_factory,
        )
        from requests import RequestException

        options = pip_options()
        index = options.get("index-url") or PYPI_SIMPLE_ENDPOINT
        # The URL of a private mirror may hold a password.
        host = urlsplit(index).hostname or index
        try:
            with PyPISimple(index) as client:
                client.s.verify = options.get("cert") or True
                page = client.get_project_page(self.package, timeout=CONNECT_AND_READ_SECONDS)
                client.download_package(
                    self._choose(page.packages, host),
                    path,
                    # The digest that counts is the configured one, checked by the caller.
                    verify=False,
                    progress=tqdm_progress_factory(desc=f"download {self.file}", **BAR),
                    timeout=CONNECT_AND_READ_SECONDS,
                )
        except NoSuchProjectError as error:
            raise SourceError(f"{self.package}: no such package at {host}") from error
        except (UnsupportedContentTypeError, UnsupportedRepoVersionError) as error:
            raise SourceError(f"{host}: does not answer as a package index") from error
        except RequestException as error:
            raise SourceError(f"{self.file} from {host}: {_reason(error)}") from error

    def _choose(self, packages: list, host: str):
        """The entry of the package's page that is the configured file."""
        versions = dict.fromkeys(package.version for package in packages if package.version)
        if self.version not in versions:
            raise SourceError(
                f"{self.package}=={self.version}: no such version at {host}; "
                f"it has {', '.join(versions) or 'none'}"
            )
        files = {p.filename: p for p in packages if p.version == self.version}
        if self.file not in files:
            raise SourceError(
                f"{self.package}=={self.version}: no file {self.file!r} at {host}; "
                f"it has {', '.join(files)}"
            )
        announced = files[self.file].digests.get("sha256", self.sha256)
        if announced != self.sha256:
            raise SourceError(f"{self.file} at {host}: sha256 is {announced}, not {self.sha256}")
        return files[self.file]

    def _extract(self, archive: Path, folder: Path) -> None:
        missing = set(self.members)
        try:
            with (
                archive.open("rb") as raw,
                tqdm.wrapattr(
                    raw, "read", total=archive.stat().st_size, desc=f"unpack {self.file}", **BAR
                ) as file,
            ):
                for name, open_member in self._entries(file):
                    # Only names that the configuration gave are written, whatever the archive has.
                    if name not in missing:
                        continue
                    content = open_member()
                    if content is None:
                        raise SourceError(f"{self.file}: member {name!r} is not a regular file")
                    path = folder / name
                    path.parent.mkdir(parents=True, exist_ok=True)
                    with content, path.open("wb") as target:
                        copyfileobj(content, target)
                    missing.remove(name)
                    if not missing:
                        return
        except (zipfile.BadZipFile, tarfile.TarError, zlib.error, EOFError) as error:
            raise SourceError(f"{self.file}: not a readable archive: {error}") from error
        raise SourceError(f"{self.file}: no member {sorted(missing)[0]!r}")

    def _entries(self, file: IO[bytes]) -> Iterator[tuple[str, Callable[[], IO[bytes] | None]]]:
        """Name of each entry, and what opens it (``None`` for what is not a regular file)."""
        if self.file.endswith(".tar.gz"):
            # One pass over the stream: seeking back would decompress it again.
            with tarfile.open(fileobj=file, mode="r|gz") as tar:
                for entry in tar:
                    regular = tar.extractfile if entry.isreg() else lambda entry: None
                    yield entry.name.partition("/")[2], partial(regular, entry)
        else:
            enclosed = self.file.endswith(".zip")
            with zipfile.ZipFile(file) as packed:
                for entry in packed.infolist():
                    name = entry.filename.partition("/")[2] if enclosed else entry.filename
                    yield name, partial(packed.open, entry)


class PypiSource(Distribution, BaseSource):
    """Members of one distribution file of a package."""

    source: Literal["pypi"]

    def retrieve(self, folder: Path) -> None:
        self.unpack(folder)


class PartsSource(BaseSource):
    """A file that is too large for one package: its parts, members of several, joined again."""

    source: Literal["pypi-parts"]
    parts: Annotated[list[Distribution], Field(min_length=1)] = Field(
        description="The packages, in the order of the parts."
    )
    file: Annotated[str, Field(pattern=r"^[^/.][^/]*$"), Described] = Field(
        description="Name of the whole file."
    )
    sha256: Sha256 = Field(description="SHA-256 of the whole file; anything else is refused.")

    def retrieve(self, folder: Path) -> None:
        with (folder / self.file).open("wb") as whole:
            for part in self.parts:
                with TemporaryDirectory(dir=folder) as unpacked:
                    part.unpack(Path(unpacked))
                    for member in part.members:
                        with Path(unpacked, member).open("rb") as content:
                            copyfileobj(content, whole)
        _check_digest(folder / self.file, self.file, self.sha256)


def _check_digest(path: Path, name: str, expected: str) -> None:
    found = sha256(path)
    if found != expected:
        raise SourceError(f"{name}: sha256 is {found}, not {expected}")


def pip_options() -> dict[str, str]:
    """Options of the user's pip: those of its configuration files, then of the environment."""
    # `pip config get` looks into one file alone; `list` merges all of them.
    listed = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=False
    )
    options = {}
    for line in listed.stdout.splitlines():
        key, _, value = line.partition("=")
        if key.startswith("global."):
            options[key.removeprefix("global.")] = literal_eval(value)
    for name, value in os.environ.items():
        if name.startswith("PIP_"):
            options[name.removeprefix("PIP_").lower().replace("_", "-")] = value
    return options


def _reason(error) -> str:
    """Why a request failed, without its URL."""
    from requests import exceptions

    if error.response is not None:
        return f"the server answered {error.response.status_code} {error.response.reason}"
    if isinstance(error, exceptions.Timeout):
        return f"no answer in {max(CONNECT_AND_READ_SECONDS)} s"
    if isinstance(error, exceptions.SSLError):
        return "the server's certificate is not trusted (pip's option `cert` names an authority)"
    if isinstance(error, exceptions.ChunkedEncodingError):
        return "the download broke off"
    if isinstance(error, exceptions.ConnectionError):
        return "the server cannot be reached"
    return type(error).__name__
