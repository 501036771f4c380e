"""A wrong checkpoint shows in the dense model's scores: look at them before pruning it."""

import sys

from bench.band import band_problems
from bench.cells import dense_cell
from bench.config import Config
from bench.files import write_json
from bench.records import resolved_config
from bench.stages.evaluate import Evaluator


def check_dense(config: Config, model: str, *, folder: str, checked: str, output: str) -> None:
    """Score the dense model, and write its scores if they lie in the band; else end with status 1.

    Args:
        config: says what is evaluated, and what is expected.
        model: name of the model.
        folder: where it lies.
        checked: manifest of the data, in the data's folder.
        output: JSON file to write.
    """
    resolved = resolved_config(config, dense_cell(model))
    evaluator = Evaluator(resolved, folder, checked)
    clock = evaluator.start()
    _, scores, _ = evaluator.measure(evaluator.load(folder), clock)
    found = {"config": resolved, "metrics": scores.metrics}
    problems = list(band_problems(config, model, found))
    if problems:
        sys.exit("\n".join(problems))
    write_json(output, found)
