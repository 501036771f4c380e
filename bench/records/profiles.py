"""A profile: every measurement of ``python -m bench profile``, a row each."""

from pathlib import Path

import numpy as np
import pandas as pd

from bench.files import UnreadableError, read_csv

# Below ``results``.
PROFILE = "profile.csv"
# What all measurements of a profile share, what tells one apart, and what is measured.
COMMON = ["model", "device", "batch"]
CONDITION = ["length", "storage", "checkpointing"]
KEYS = ["method", *CONDITION]
# Bytes of the base, and those whose sum is the peak above it.
WEIGHTS = "weights_bytes"
PARTS = ["trainable_state_bytes", "optimizer_bytes", "activations_bytes", "dense_bytes"]
PARTS += ["temporary_bytes"]
MEASURED = ["trainable_parameters", "tokens", "step_seconds", "evolving_seconds", "evolving_share"]
MEASURED += [WEIGHTS, *PARTS, "peak_bytes"]
COLUMNS = [*COMMON, *KEYS, "repetition", *MEASURED]
# The costs that claims compare, by their names there.
PROFILED = {"profiled_step_seconds": "step_seconds", "profiled_peak_memory": "peak_bytes"}


def read_profile(path: str | Path) -> pd.DataFrame:
    """The measurements of a profile.

    Returns:
        One row a measurement, with ``COLUMNS``.

    Raises:
        UnreadableError: it is no profile, a cost is not a number above zero, a measurement is there
            twice, or not all are of one model, batch and device.
    """
    profile = read_csv(path)
    if missing := [name for name in COLUMNS if name not in profile]:
        raise UnreadableError(path, f"no profile: without {', '.join(missing)}")
    for column in COMMON:
        if (found := profile[column].unique()).size != 1:
            named = ", ".join(map(str, found)) or "none"
            raise UnreadableError(path, f"{column} = {named}; allowed: one in all rows")
    for column in PROFILED.values():
        values = pd.to_numeric(profile[column], errors="coerce")
        if not (np.isfinite(values) & (values > 0)).all():
            raise UnreadableError(path, f"{column}: allowed: numbers above 0")
        profile[column] = values
    if profile.duplicated([*KEYS, "repetition"]).any():
        raise UnreadableError(path, "allowed: each method, condition and repetition once")
    return profile


def condition_name(length: int, storage: str, checkpointing: str) -> str:
    """A length, and what :func:`setting_name` says, in words."""
    return ", ".join(filter(None, [f"{length} tokens", setting_name(storage, checkpointing)]))


def setting_name(storage: str, checkpointing: str) -> str:
    """A storage that is not dense, and whether activations are recomputed, in words."""
    parts = [storage if storage != "dense" else "", "checkpointing" * (checkpointing == "on")]
    return ", ".join(filter(None, parts))
