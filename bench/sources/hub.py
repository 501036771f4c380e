"""Models and data from the Hugging Face hub."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from bench.origin import sha256
from bench.sources.base import BaseSource, SourceError
from bench.sources.local import WANTED, Patterns, link_files
from bench.typed import Commit


class HubSource(BaseSource):
    """A repository of the hub at one commit; its files stay in the hub's cache and are linked."""

    source: Literal["hub"]
    repository: Annotated[str, Field(pattern=r"^[\w.-]+(/[\w.-]+)?$")] = Field(
        description="`owner/name`."
    )
    repository_type: Literal["model", "dataset"] = Field(
        default="model", description="Which kind of repository it is."
    )
    revision: Commit = Field(
        description="The commit, 40 hexadecimal digits: a branch or a tag can move. Zeros alone "
        "stand for one that is still to be filled in."
    )
    files: Patterns = WANTED

    def retrieve(self, folder: Path) -> None:
        if not self.revision.strip("0"):
            reason = "not filled in; allowed: a commit of the repository"
            raise refusal(self.repository, self.revision, reason)
        from huggingface_hub import snapshot_download

        with explained(self.repository, self.revision):
            snapshot = Path(
                snapshot_download(
                    self.repository,
                    repo_type=self.repository_type,
                    revision=self.revision,
                    allow_patterns=self.files,
                )
            )
        link_files(snapshot, self.files, folder)
        for link in folder.rglob("*"):
            if link.is_file():
                self._check(snapshot / link.relative_to(folder))

    def _check(self, path: Path) -> None:
        """Compare a file with its digest: the name under which the cache holds its content.

        That is the SHA-256 of a large file, and the number that git gives to a small one.
        """
        from huggingface_hub.utils.sha import git_hash

        if not path.is_symlink():
            return
        expected = path.readlink().name
        digests = {40: lambda: git_hash(path.read_bytes()), 64: lambda: sha256(path)}
        found = digests.get(len(expected), lambda: expected)()
        if found != expected:
            reason = (
                f"{path.name}: its digest is {found}, not {expected}; remove {path.resolve()} and "
                "start again"
            )
            raise refusal(self.repository, self.revision, reason)


def commit_of(repository: str, repository_type: str, revision: str) -> str:
    """The commit that a branch or a tag of a repository stands for at present.

    Raises:
        SourceError: it cannot be asked for (one line).
    """
    from huggingface_hub import HfApi

    with explained(repository, revision):
        return HfApi().repo_info(repository, repo_type=repository_type, revision=revision).sha


@contextmanager
def explained(repository: str, revision: str) -> Iterator[None]:
    """Give what the hub's client raises in the block as one line."""
    from huggingface_hub.errors import (
        GatedRepoError,
        LocalEntryNotFoundError,
        RemoteEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    reasons = {
        GatedRepoError: "access must be asked for on its page, then log in (`hf auth`)",
        RepositoryNotFoundError: "no such repository, or a private one (`hf auth` logs in)",
        RevisionNotFoundError: "no such revision",
        LocalEntryNotFoundError: "the hub cannot be reached, and it is not in the local cache",
    }
    try:
        yield
    # The errors of the hub's HTTP library have no base class that the hub's client exports.
    except Exception as error:
        said = f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"
        if isinstance(error, RemoteEntryNotFoundError):
            said = f"{Path(error.response.url.path).name} is listed and not there"
        reason = next((why for kind, why in reasons.items() if isinstance(error, kind)), said)
        raise refusal(repository, revision, reason) from error


def refusal(repository: str, revision: str, reason: str) -> SourceError:
    """Why a repository cannot be had, in one line."""
    return SourceError(f"hub {repository} at {revision}: {reason}")
