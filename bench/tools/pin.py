"""A repository of the hub, as an entry of a configuration: ``python -m bench pin <repository>``.

Branches and tags move, so a configuration names a commit. What ``main`` is at present is looked up,
and of a model the shape that its ``config.json`` states.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import yaml

from bench.models.shape import read_shape
from bench.sources import HubSource, SourceError
from bench.sources.hub import commit_of


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description="Print the entry of a configuration for a repository of the model hub, with "
        "the commit that a name stands for at present, and a model's shape; needs the network."
    )
    parser.add_argument("repository", help="owner/name")
    parser.add_argument("--revision", default="main", help="a branch, a tag or a commit")
    parser.add_argument("--dataset", action="store_true", help="it is one of data, not a model")
    given = parser.parse_args(arguments)
    try:
        entry = pinned(given.repository, given.revision, "dataset" if given.dataset else "model")
    except (SourceError, ValueError) as error:
        parser.exit(1, f"{error}\n")
    print(yaml.safe_dump(entry, sort_keys=False), end="")


def pinned(repository: str, revision: str, kind: str) -> dict:
    """The entry of `models`, or of `sources`, for a repository.

    Args:
        repository: ``owner/name``.
        revision: a branch, a tag or a commit.
        kind: model or dataset.

    Raises:
        SourceError: it cannot be had (one line).
    """
    found = {"repository": repository, "revision": commit_of(repository, kind, revision)}
    name = repository.rpartition("/")[2].lower()
    if kind == "dataset":
        return {"sources": {name: {"source": "hub", "repository_type": kind, **found}}}
    with TemporaryDirectory() as folder:
        HubSource(source="hub", files=["config.json"], **found).retrieve(Path(folder))
        shape = read_shape(Path(folder))
    stated = {} if shape is None else {"shape": shape.model_dump()}
    return {"models": {name: {"source": {"source": "hub", **found}, **stated}}}
