"""How models and data get onto the machine: one interface for every place they come from.

A source is an entry of the configuration. :func:`fetch` brings its files into a folder, with a
``manifest.json`` that says what they are; :func:`fetch_model` makes a ``transformers`` folder.
"""

from typing import Annotated

from pydantic import Field

from bench.sources.base import SourceError, fetch
from bench.sources.hub import HubSource
from bench.sources.local import PathSource
from bench.sources.models import fetch_model
from bench.sources.pypi import PartsSource, PypiSource
from bench.sources.synthetic import SyntheticSource

Source = Annotated[
    PypiSource | PartsSource | HubSource | PathSource | SyntheticSource,
    Field(discriminator="source"),
]

__all__ = [
    "HubSource",
    "PartsSource",
    "PathSource",
    "PypiSource",
    "Source",
    "SourceError",
    "SyntheticSource",
    "fetch",
    "fetch_model",
]
