"""The model as it came: its scores tell a wrong checkpoint before it is pruned."""

import sys
from pathlib import Path

from bench.cells import dense_cell
from bench.data.forms import DataError
from bench.files import write_json, write_json_lines
from bench.models.loading import load_model
from bench.models.shape import length_problems
from bench.records.band import band_problems, checked
from bench.records.record import make_record, read_record
from bench.stages.evaluate import Evaluator


def check_dense(model: str, band: dict, record: str, file: str) -> None:
    """Compare the dense model's scores with its band; end with status 1 where they do not fit.

    Args:
        model: name of the model.
        band: lowest and highest score expected, a task.
        record: of the dense model.
        file: to write when all is well.
    """
    scored = read_record(record)
    problems = list(band_problems(model, band, scored))
    if problems:
        sys.exit("\n".join(problems))
    write_json(file, checked(scored["provenance"]["manifests"]["model"], band))


def evaluate_dense(
    model: str,
    config: dict,
    *,
    data: dict,
    folder: str,
    checked: str,
    record: str,
    samples: str,
) -> None:
    """Score the dense model, and write its record.

    An error ends the run: nothing can be compared without it.

    Args:
        model: name of the model.
        config: its resolved configuration.
        data: the data sets that decide its scores (:func:`bench.records.record.data_of`).
        folder: where it lies.
        checked: manifest of the data, in the data's folder.
        record: ``record.json`` to write.
        samples: file of the results item by item to write.

    Raises:
        OriginError: model or data are not what is asked for.
        DataError: a task has more context than the model takes.
    """
    evaluator = Evaluator(config, folder, checked, data)
    contexts = {
        f"evaluation.tasks.{name}.context_length": task.context_length
        for name, task in evaluator.settings.tasks.items()
        if task.context_length is not None
    }
    problems = list(length_problems(model, Path(folder), contexts))
    if problems:
        raise DataError("\n".join(problems))
    clock = evaluator.start()
    network = load_model(folder, evaluator.device, evaluator.dtype)
    report, scores, costs = evaluator.measure(network, clock)
    write_json_lines(samples, scores.samples)
    write_json(
        record,
        make_record(
            dense_cell(model),
            config,
            sparsity={
                "requested": 0.0,
                "achieved": report.sparsity,
                "layers": report.layers,
                "evolution": None,
            },
            stages={"prune": None, "repair": None, "merge": None, "evaluate": costs},
            metrics=scores.metrics,
            samples=samples,
            provenance=evaluator.provenance(),
        ),
    )
