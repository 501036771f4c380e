"""A wrong checkpoint shows in the dense model's scores: look at them before pruning it."""

import sys
from pathlib import Path

from bench.files import read_json, whole
from bench.tables import shown_value


def check_dense(record: str, band: dict[str, tuple[float, float]], output: str) -> None:
    """Create ``output`` when every score lies in its band; else end with one line, status 1.

    Args:
        record: the dense model's ``record.json``.
        band: lowest and highest score allowed, by task, in the table's units.
        output: empty file to create.
    """
    dense = read_json(record)
    problems = []
    for task, (low, high) in band.items():
        value = shown_value(dense, task)
        if value is None or not low <= value <= high:
            found = "nothing" if value is None else f"{value:.4g}"
            problems.append(f"{task} is {found}; allowed: {low:g} to {high:g}")
    if problems:
        name = dense["cell"]["model"]
        sys.exit(f"models.{name}.band: the dense model is not as expected: {'; '.join(problems)}")
    with whole(output) as temporary:
        Path(temporary).touch()
