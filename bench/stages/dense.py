"""The model as it came: its scores tell a wrong checkpoint before it is pruned."""

import sys
from pathlib import Path

from bench.cells import dense_cell
from bench.config import Config
from bench.files import read_json, read_json_lines, write_json, write_json_lines
from bench.records.band import band_problems
from bench.records.record import make_record, read_record, resolved_config
from bench.records.samples import read_samples
from bench.stages.evaluate import Evaluator


def check_dense(
    config: Config, model: str, *, folder: str, checked: str, record: str, samples: str
) -> None:
    """Score the dense model; end with status 1 if its scores do not lie in the band.

    Args:
        config: says what is evaluated, and what is expected.
        model: name of the model.
        folder: where it lies.
        checked: manifest of the data, in the data's folder.
        record: ``record.json`` to write.
        samples: file of the results item by item to write.
    """
    resolved = resolved_config(config, dense_cell(model))
    _score(model, resolved, folder=folder, checked=checked, record=record, samples=samples)
    problems = list(band_problems(config, model, read_json(record)))
    if problems:
        sys.exit("\n".join(problems))


def evaluate_dense(
    model: str,
    config: dict,
    *,
    folder: str,
    checked: str,
    record: str,
    samples: str,
    inputs: list[str],
    scored: str,
    scored_samples: str,
) -> None:
    """Write the dense model's record: the check's, where nothing has changed since.

    An error ends the run: nothing can be compared without it.

    Args:
        model: name of the model.
        config: its resolved configuration.
        folder: where it lies.
        checked: manifest of the data, in the data's folder.
        record: ``record.json`` to write.
        samples: file of the results item by item to write.
        inputs: what the scores depend on: code, data and model.
        scored: record that :func:`check_dense` wrote.
        scored_samples: its results item by item.
    """
    earlier = read_record(scored)
    since = Path(scored).stat().st_mtime
    unchanged = earlier["config"]["hash"] == config["hash"]
    if unchanged and all(Path(path).stat().st_mtime <= since for path in inputs):
        read_samples(scored, earlier)
        write_json_lines(samples, read_json_lines(scored_samples))
        write_json(record, earlier | {"samples": samples})
    else:
        _score(model, config, folder=folder, checked=checked, record=record, samples=samples)


def _score(
    model: str, config: dict, *, folder: str, checked: str, record: str, samples: str
) -> None:
    evaluator = Evaluator(config, folder, checked)
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
