"""What a dense model is expected to score."""

from collections.abc import Iterator

from bench.config import Config
from bench.records.rows import shown_value


def band_problems(config: Config, model: str, record: dict) -> Iterator[str]:
    """The tasks of which a dense model's score lies outside the band, in a line each.

    Args:
        config: holds the band.
        model: name of the model.
        record: the dense model's record, or as much of it as ``config`` and ``metrics``.
    """
    for task, (low, high) in config.models[model].band.items():
        value = shown_value(record, task)
        if value is None or not low <= value <= high:
            found = "nothing" if value is None else f"{value:.4g}"
            yield (
                f"models.{model}.band.{task}: the dense model is not as expected: it scores "
                f"{found}; allowed: {low:g} to {high:g}"
            )
