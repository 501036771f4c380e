"""The model as it came: its scores tell a wrong checkpoint before it is pruned."""

import sys
from pathlib import Path

from bench.data.forms import DataError
from bench.files import write_json
from bench.models.loading import load_model
from bench.models.shape import length_problems
from bench.records.band import band_problems, checked
from bench.records.record import read_record
from bench.stages.evaluate import EvaluationJob, Evaluator


def check_dense(band: dict, record: str, file: str) -> None:
    """Compare the dense model's scores with its band; end with status 1 where they do not fit.

    Args:
        band: lowest and highest score expected, a task.
        record: of the dense model.
        file: to write when all is well.
    """
    scored = read_record(record)
    problems = list(band_problems(scored["cell"]["model"], band, scored))
    if problems:
        sys.exit("\n".join(problems))
    write_json(file, checked(scored["provenance"]["manifests"]["model"], band))


def evaluate_dense(job: EvaluationJob) -> None:
    """Score the dense model, and write its record.

    An error ends the run: nothing can be compared without it.

    Raises:
        OriginError: model or data are not what is asked for.
        DataError: a task has more context than the model takes.
    """
    evaluator = Evaluator(job, requested=0.0)
    contexts = {
        f"evaluation.tasks.{name}.context_length": task.context_length
        for name, task in evaluator.settings.tasks.items()
        if task.context_length is not None
    }
    problems = list(length_problems(job.cell.model, Path(job.model), contexts))
    if problems:
        raise DataError("\n".join(problems))
    clock = evaluator.start()
    evaluator.measure(load_model(job.model, evaluator.device, evaluator.dtype), clock)
    evaluator.write()
