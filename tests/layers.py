"""Configurations as Snakemake lays them over each other."""

from copy import deepcopy
from functools import cache
from pathlib import Path

import yaml
from snakemake.utils import update_config

from bench.config.loading import load
from bench.config.whole import Config

CONFIG = Path(__file__).resolve().parents[1] / "config"


def read_layers(*names: str) -> dict:
    """``config.yaml`` with these files of ``config/`` over it."""
    values: dict = {}
    for name in ("config.yaml", *names):
        update_config(values, _read(name))
    return deepcopy(values)


@cache
def _read(name: str) -> dict:
    return yaml.safe_load((CONFIG / name).read_text(encoding="utf-8"))


def load_layers(*names: str) -> Config:
    return load(read_layers(*names))
