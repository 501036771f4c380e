"""The typed configuration: the one definition of every key, its type, and what is allowed.

A file a section; :class:`Config` is the whole, and ``checks`` what its sections must agree on.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bench.config.evaluation import Evaluation
    from bench.config.loading import ConfigError, json_schema, load, load_or_exit
    from bench.config.repair import TRAININGS
    from bench.config.training import Training
    from bench.config.whole import Config

__all__ = [
    "TRAININGS",
    "Config",
    "ConfigError",
    "Evaluation",
    "Training",
    "json_schema",
    "load",
    "load_or_exit",
]
SECTIONS = ("evaluation", "loading", "repair", "training", "whole")


def __getattr__(name: str):
    """What is exported, imported when it is asked for.

    The classes of all methods, and torch, come with it; who draws figures or makes tables wants no
    more than ``bench.config.variants``.
    """
    if name in __all__:
        for section in SECTIONS:
            module = import_module(f"{__name__}.{section}")
            if name in vars(module):
                return vars(module)[name]
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
