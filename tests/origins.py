"""Folders and files as the stages leave them, for tests of what reads them."""

from pathlib import Path

import torch
from safetensors.torch import save_file

from bench.data.disjoint import dropped_identity
from bench.data.tokens import Blocks
from bench.origin import identity, mark
from bench.sources import SyntheticSource
from bench.sources.base import write_manifest

SOURCE = SyntheticSource(source="synthetic")
MODEL = SOURCE.model_dump(mode="json")


def as_fetched(folder: str | Path) -> None:
    """Let a folder be one that was fetched from ``SOURCE``."""
    write_manifest(Path(folder), SOURCE)


def calibration_tokens(
    path: str | Path, ids: torch.Tensor, model: str | Path, settings: dict, data: dict
) -> None:
    """Calibration tokens, as if they were of the data sets of these identities."""
    save_file({"input_ids": ids}, path)
    mark(path, {"model": identity(model), "data": data, "calibration": settings})


def blocks(
    path: str | Path,
    ids: torch.Tensor,
    labels: torch.Tensor,
    model: str | Path,
    packing: dict,
    data: dict,
) -> None:
    """Packed blocks, as if they were of the data sets of these identities."""
    origin = {"model": identity(model), "data": data, "packing": packing}
    origin["dropped"] = dropped_identity(None, data, "train")
    Blocks(ids, labels, {}).save(path, origin)
