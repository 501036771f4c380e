"""The model as it came: its scores tell a wrong checkpoint before it is pruned."""

import sys

from bench.cells import dense_cell
from bench.files import read_json, write_json, write_json_lines
from bench.records.band import band_problems
from bench.records.record import make_record
from bench.stages.evaluate import Evaluator


def check_dense(model: str, band: dict, record: str, checked: str) -> None:
    """Compare the dense model's scores with its band; end with status 1 where they do not fit.

    Args:
        model: name of the model.
        band: lowest and highest score expected, a task.
        record: of the dense model.
        checked: file to write when all is well.
    """
    problems = list(band_problems(model, band, read_json(record)))
    if problems:
        sys.exit("\n".join(problems))
    write_json(checked, {"band": band})


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
    """
    evaluator = Evaluator(config, folder, checked, data)
    clock = evaluator.start()
    report, scores, costs = evaluator.measure(evaluator.load(folder), clock)
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
