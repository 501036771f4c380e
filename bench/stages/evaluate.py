"""Evaluate a model, and write its record."""

import sys
import time
import traceback
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import torch
from torch import nn

from baselines.pruning.layers import sparsity_report
from baselines.pruning.pattern import Pattern
from baselines.repair import build_repair
from baselines.repair.base import Repair
from bench.cells import Cell
from bench.config.evaluation import Evaluation
from bench.data.disjoint import dropped_identity
from bench.evaluation import Evaluation as Scores
from bench.evaluation import evaluate
from bench.files import read_json, write_json, write_json_lines
from bench.jobs.measure import StageClock
from bench.jobs.outcome import LOG_FILE, Attempt, read_outcome
from bench.jobs.provenance import provenance
from bench.models.bases import load_base, read_base_layers
from bench.models.loading import load_tokenizer, pick_device, pick_dtype
from bench.models.merging import merge
from bench.origin import MANIFEST, identity, sha256, verify
from bench.records.history import make_history, no_history, sparsity_ranges, write_history
from bench.records.measures import STAGES
from bench.records.record import make_record
from bench.stages.inputs import (
    of_base,
    of_training,
    verify_checked,
    verify_data,
    verify_tokens,
)


class Evaluator:
    """Evaluates the models of one job, and makes their records.

    Args:
        config: the cell's resolved configuration (see :func:`bench.records.resolved_config`).
        model: folder of the dense model, with the tokenizer.
        checked: manifest of the data, in the folder of the data sets, beside which lie the data of
            lm-eval's own tasks.
        data: the data sets that decide the cell's numbers (:func:`bench.records.record.data_of`).

    Raises:
        OriginError: model or data are not what is asked for.
    """

    def __init__(self, config: dict, model: str, checked: str, data: dict):
        resolved = config["resolved"]
        self.resolved = resolved
        self.model = Path(model)
        self.checked = Path(checked)
        self.settings = Evaluation(**resolved["evaluation"])
        self.items = {
            name: task.items(name, self.checked.parents[1])
            for name, task in self.settings.tasks.items()
        }
        verify(model, {"source": resolved["model"]})
        self.data = verify_data({name: self.checked.parent / name for name in data}, data)
        self._verify_own()
        self.device: torch.device | None = None
        self.dtype: torch.dtype | None = None

    def _verify_own(self) -> None:
        """Check that the data of lm-eval's own tasks are what was fetched."""
        for name, task in self.settings.tasks.items():
            if task.data is not None:
                continue
            # The library takes seconds to import.
            from bench.evaluation.own import LmEvalSource

            source = LmEvalSource(task=name, revision=task.revision)
            verify(self.items[name], {"source": source.model_dump(mode="json")})

    def start(self) -> StageClock:
        """Find the device, and start measuring on it.

        Raises:
            RuntimeError: a GPU is asked for, and there is none.
        """
        runtime = self.resolved["runtime"]
        self.device = pick_device(runtime["device"])
        self.dtype = pick_dtype(runtime["dtype"], self.device)
        return StageClock(self.device)

    def measure(self, model: nn.Module, clock: StageClock):
        """Sparsity, scores and costs of ``model``."""
        tokenizer = load_tokenizer(self.model)
        report = sparsity_report(model)
        with clock.computing(model):
            scores = evaluate(
                model,
                tokenizer,
                self.settings.tasks,
                self.items,
                batch_tokens=self.settings.batch_tokens,
            )
        return report, scores, clock.costs()

    def provenance(self) -> dict:
        return {
            **provenance(self.device, self.dtype),
            "manifests": {
                "model": sha256(self.model / MANIFEST),
                "sets": {
                    task.data: self.data[task.data]
                    for task in self.settings.tasks.values()
                    if task.data is not None
                },
                "tasks": {
                    name: sha256(self.items[name] / MANIFEST)
                    for name, task in self.settings.tasks.items()
                    if task.data is None
                },
            },
        }


@dataclass(frozen=True, kw_only=True)
class EvaluationJob:
    """What an evaluation reads and writes.

    Attributes:
        cell: whose record it makes.
        config: its resolved configuration.
        data: the data sets that decide its numbers (:func:`bench.records.record.data_of`).
        model: folder of the dense model.
        base: folder of the pruned model.
        trained: folder of the training that the cell merges; None for the base as it is.
        calibration: tokens of the calibration text; None for a pruner that needs none.
        code: listings of the source files that decide ``base`` and ``trained``, where known.
        checked: manifest of the data, in the data's folder.
        record: ``record.json`` to write.
        samples: file of the results item by item to write.
        history: file of the training's course and of what it changed to write.
    """

    cell: Cell
    config: dict
    data: dict
    model: str
    base: str
    trained: str | None
    calibration: str | None
    code: Mapping[str, str]
    checked: str
    record: str
    samples: str
    history: str

    @property
    def resolved(self) -> dict:
        return self.config["resolved"]

    def verify(self, data: Mapping[str, str]) -> dict:
        """Check that what is joined belongs together; the record's ``inputs``.

        Args:
            data: identities of the data sets, by name.

        Raises:
            OriginError: base, training or tokens are not what is asked for.
        """
        cell, model = self.cell, self.model
        tokens = verify_tokens(self.calibration, self.resolved, model=model, data=data)
        base = of_base(cell, self.resolved, model=model, code=self.code.get("base"))
        verify(self.base, base | tokens)
        paths = {
            "model": model,
            "base": self.base,
            "trained": self.trained,
            "calibration": self.calibration,
        }
        blocks = None if self.trained is None else self._verify_training(data)
        identities = {name: path and identity(path) for name, path in paths.items()}
        return {**paths, "identities": {**identities, "blocks": blocks}}

    def _verify_training(self, data: Mapping[str, str]) -> str:
        """Identity of the blocks that were trained on."""
        code = self.code.get("trained")
        asked = of_training(self.cell, self.resolved, model=self.model, base=self.base, code=code)
        mixture = [part["data"] for part in self.resolved["training"]["mixture"]]
        asked["data"] = {name: data[name] for name in mixture}
        verify_checked(self.checked, data)
        drops = self.resolved["training"].get("overlap") == "drop"
        asked["dropped"] = dropped_identity(
            self.checked if drops else None, mixture, self.resolved["training"]["split"]
        )
        marker = verify(self.trained, asked)
        return marker["made_from"]["blocks"]


@dataclass
class Result:
    """What is known of a cell after each step; what was not reached is None, or empty."""

    sparsity: dict
    stages: dict
    error: dict | None
    scores: Scores | None = None
    course: dict = field(default_factory=no_history)


def evaluate_cell(job: EvaluationJob, attempt: Attempt) -> None:
    """Merge the cell's repair into its base, evaluate that, and write the cell's record.

    On the last attempt the record says why it failed (see :meth:`Attempt.make`), as it does when
    pruning or training failed before.

    Args:
        job: what to evaluate.
        attempt: the number of this attempt.

    Raises:
        OriginError: something does not belong to what it would be joined with.
    """
    evaluator = Evaluator(job.config, job.model, job.checked, job.data)
    inputs = job.verify(evaluator.data)
    result = _earlier(job)
    if result.error is None:
        made, result.error = attempt.make("merge", partial(_merge, job, evaluator, result))
    if result.error is None:
        work = partial(_evaluate, job, evaluator, result, *made)
        _, result.error = attempt.make("evaluate", work)
    scores = result.scores if result.error is None else Scores([], [])
    write_json_lines(job.samples, scores.samples)
    write_history(job.history, job.cell, result.course)
    write_json(
        job.record,
        make_record(
            job.cell,
            job.config,
            sparsity=result.sparsity,
            stages=result.stages,
            metrics=scores.metrics,
            samples=job.samples,
            provenance=evaluator.provenance(),
            inputs=inputs,
            error=result.error,
        ),
    )


def _earlier(job: EvaluationJob) -> Result:
    """What pruning and training say of themselves."""
    requested = Pattern.parse(job.cell.pattern).sparsity
    result = Result(
        sparsity={"requested": requested, "achieved": None, "layers": None, "evolution": None},
        stages=dict.fromkeys(STAGES),
        error=None,
    )
    for stage, folder in {"prune": job.base, "repair": job.trained}.items():
        if folder is not None and result.error is None:
            outcome = read_outcome(folder)
            result.stages[stage], result.error = outcome["costs"], outcome["error"]
    return result


def _merge(
    job: EvaluationJob, evaluator: Evaluator, result: Result
) -> tuple[nn.Module, StageClock]:
    """The cell's model, and the clock of its evaluation."""
    clock = evaluator.start()
    network = load_base(job.base, dense=job.model, device=evaluator.device, dtype=evaluator.dtype)
    if job.trained is None:
        return network, clock
    with clock.computing(network):
        network = merge(job.cell, job.resolved, network, job.trained, job.calibration)
    result.stages["merge"] = clock.costs()
    return network, StageClock(evaluator.device, since=time.time())


def _evaluate(
    job: EvaluationJob, evaluator: Evaluator, result: Result, network: nn.Module, clock: StageClock
) -> None:
    report, result.scores, result.stages["evaluate"] = evaluator.measure(network, clock)
    result.sparsity |= {"achieved": report.sparsity, "layers": report.layers}
    if job.trained is None:
        return
    repair = build_repair(job.cell.repair, **job.resolved["repair"])
    evolution = repair.saved_evolution_log(job.trained)
    result.sparsity["evolution"] = sparsity_ranges(evolution)
    result.course = _history(job, repair, evolution, network)


def _history(job: EvaluationJob, repair: Repair, evolution: list[dict], network: nn.Module) -> dict:
    """The history of a training, for the figures: without one the cell is no less evaluated."""
    try:
        log = read_json(Path(job.trained) / LOG_FILE)
        return make_history(
            log if repair.objective == "next-token" else [],
            evolution,
            read_base_layers(job.base, dense=job.model, model=network),
            network,
        )
    except Exception as error:
        traceback.print_exc()
        reason = " ".join(str(error).split())
        print(
            f"warning: no history, figures will lack this cell: {type(error).__name__}: {reason}",
            file=sys.stderr,
        )
        return no_history()
