"""Models and data from the Hugging Face hub."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from bench.sources.base import BaseSource, SourceError
from bench.sources.linking import WANTED, Patterns, link_files


class HubSource(BaseSource):
    """A repository of the hub at one commit; its files stay in the hub's cache and are linked."""

    source: Literal["hub"]
    repository: str = Field(description="`owner/name`.")
    repository_type: Literal["model", "dataset"] = Field(
        default="model", description="Which kind of repository it is."
    )
    revision: Annotated[str, Field(pattern="^[0-9a-f]{40}$")] = Field(
        description="The commit, 40 hexadecimal digits: a branch or a tag can move."
    )
    files: Patterns = WANTED

    def retrieve(self, folder: Path) -> None:
        link_files(self._snapshot(), self.files, folder)

    def _snapshot(self) -> Path:
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import (
            GatedRepoError,
            LocalEntryNotFoundError,
            RepositoryNotFoundError,
            RevisionNotFoundError,
        )

        try:
            return Path(
                snapshot_download(
                    self.repository,
                    repo_type=self.repository_type,
                    revision=self.revision,
                    allow_patterns=self.files,
                )
            )
        except GatedRepoError as error:
            reason, cause = "access must be asked for on its page, then log in (`hf auth`)", error
        except RepositoryNotFoundError as error:
            reason, cause = "no such repository, or a private one (`hf auth` logs in)", error
        except RevisionNotFoundError as error:
            reason, cause = "no such revision", error
        except LocalEntryNotFoundError as error:
            reason, cause = "the hub cannot be reached, and it is not in the local cache", error
        # The errors of the hub's HTTP library have no base class that the hub's client exports.
        except Exception as error:
            reason, cause = f"{type(error).__name__}: {str(error).partition(chr(10))[0]}", error
        raise SourceError(f"hub {self.repository} at {self.revision}: {reason}") from cause
