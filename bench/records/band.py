"""What a dense model is expected to score."""

from collections.abc import Iterator, Mapping

from bench.records.rows import shown_value


def band_problems(
    model: str, band: Mapping[str, tuple[float, float]], record: dict
) -> Iterator[str]:
    """The tasks of which a dense model's score lies outside the band, in a line each.

    Args:
        model: name of the model.
        band: lowest and highest score expected, a task.
        record: the dense model's record, or as much of it as ``config`` and ``metrics``.
    """
    for task, (low, high) in band.items():
        value = shown_value(record, task)
        if value is None or not low <= value <= high:
            found = "nothing" if value is None else f"{value:.4g}"
            yield (
                f"models.{model}.band.{task}: the dense model is not as expected: it scores "
                f"{found}; allowed: {low:g} to {high:g}"
            )
