"""What a dense model is expected to score."""

import math
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from bench.files import UnreadableError, read_json
from bench.origin import MANIFEST, sha256
from bench.records.rows import shown_metric

# Of a normal distribution: 95 % lie within this many standard errors.
WITHIN = 1.96


def band_problems(
    model: str, band: Mapping[str, tuple[float, float]], record: dict
) -> Iterator[str]:
    """The tasks of which a dense model's score lies outside the band, in a line each.

    The band may be that of other items: a score is outside it where its 95 % interval over the
    items at hand does not touch it. Where there is no standard error the score itself is compared.
    Entries of tasks that are not run say nothing.

    Args:
        model: name of the model.
        band: lowest and highest score expected, a task.
        record: the dense model's record, or as much of it as ``config`` and ``metrics``.
    """
    run = record["config"]["resolved"]["evaluation"]["tasks"]
    for task, (low, high) in band.items():
        if task not in run:
            continue
        value, stderr = shown_metric(record, task)
        if value is None:
            found = "nothing"
        else:
            half = WITHIN * stderr if stderr is not None and math.isfinite(stderr) else 0.0
            if value - half <= high and value + half >= low:
                continue
            found = f"{value:.4g}" + (f" ± {half:.2g}" if half else "")
        yield (
            f"models.{model}.band.{task}: the dense model is not as expected: it scores "
            f"{found}; allowed: {low:g} to {high:g}"
        )


def checked(manifest: str, band: dict) -> dict:
    """What a file says that stands for a passed check.

    Args:
        manifest: SHA-256 of the manifest of the model that was scored.
        band: lowest and highest score that were allowed, a task.
    """
    return {"manifest": manifest, "band": band}


def is_checked(file: str, folder: str, band: dict) -> bool:
    """Whether a file stands for a passed check of this model with this band.

    Args:
        file: that the check wrote, if it passed.
        folder: where the model lies, if it is fetched.
        band: as configured.
    """
    with suppress(OSError, UnreadableError):
        return read_json(file) == checked(sha256(Path(folder) / MANIFEST), band)
    return False
