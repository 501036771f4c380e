"""From values to a configuration, or to lines that say why not."""

import sys
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path

from pydantic import TypeAdapter

from baselines.problems import MisfitError, validated
from bench.config.checks import FITS, NAMES
from bench.config.whole import Config
from bench.documents import read_keys
from bench.paths import ROOT

CONFIG = TypeAdapter(Config)


class ConfigError(ValueError):
    """A configuration that cannot be run; the message is one line a problem."""


def load(values: Mapping) -> Config:
    """Check ``values``.

    Raises:
        ConfigError: with one line for each problem: key, value, what is allowed.
    """
    problems = []
    try:
        config = validated(CONFIG, dict(values))
    except MisfitError as error:
        problems = str(error).splitlines()
    for checks in (NAMES, FITS):
        problems = problems or [problem for check in checks for problem in check(config)]
    if problems:
        raise ConfigError("\n".join(f"config: {line}" for line in dict.fromkeys(problems)))
    return config


def load_or_exit(values: Mapping) -> Config:
    """:func:`load`, but a problem ends the process: its lines on stderr, exit status 1."""
    try:
        return load(values)
    except ConfigError as error:
        sys.exit(str(error))


def read_files(files: Iterable[Path]) -> dict:
    """The values of configuration files, each laid over those before it, and over the default.

    Raises:
        UnreadableError: a file is not there, or cannot be read.
    """
    from snakemake.utils import update_config

    values: dict = {}
    for file in (ROOT / "config/config.yaml", *files):
        update_config(values, read_keys(file))
    return values


@cache
def json_schema() -> dict:
    """The JSON Schema of a configuration."""
    return CONFIG.json_schema()
