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
    """Evaluates the model of a job, and makes its record.

    Args:
        job: what to evaluate.
        requested: the sparsity that was asked for.

    Attributes:
        sparsity, stages, error, scores, course: what is known of the cell after each step; what was
            not reached is None, or empty.

    Raises:
        OriginError: model or data are not what is asked for.
    """

    def __init__(self, job: "EvaluationJob", requested: float):
        self.job = job
        self.sparsity = dict.fromkeys(("requested", "achieved", "layers", "evolution"))
        self.sparsity["requested"] = requested
        self.stages: dict[str, dict | None] = dict.fromkeys(STAGES)
        self.error: dict | None = None
        self.scores = Scores([], [])
        self.course = no_history()
        checked = Path(job.checked)
        self.settings = Evaluation(**job.resolved["evaluation"])
        self.items = {
            name: task.items(name, checked.parents[1]) for name, task in self.settings.tasks.items()
        }
        verify(job.model, {"source": job.resolved["model"]})
        self.data = verify_data({name: checked.parent / name for name in job.data}, job.data)
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
        runtime = self.job.resolved["runtime"]
        self.device = pick_device(runtime["device"])
        self.dtype = pick_dtype(runtime["dtype"], self.device)
        return StageClock(self.device)

    def read_outcomes(self) -> None:
        """What pruning and training say of themselves."""
        for stage, folder in {"prune": self.job.base, "repair": self.job.trained}.items():
            if folder is not None and self.error is None:
                outcome = read_outcome(folder)
                self.stages[stage], self.error = outcome["costs"], outcome["error"]

    def merged(self) -> tuple[nn.Module, StageClock]:
        """The cell's model, and the clock of its evaluation."""
        job, clock = self.job, self.start()
        network = load_base(job.base, dense=job.model, device=self.device, dtype=self.dtype)
        if job.trained is None:
            return network, clock
        with clock.computing(network):
            network = merge(job.cell, job.resolved, network, job.trained, job.calibration)
        self.stages["merge"] = clock.costs()
        return network, StageClock(self.device, since=time.time())

    def measure(self, network: nn.Module, clock: StageClock) -> None:
        """Sparsity, scores and costs of a model, and what its training changed."""
        job, settings = self.job, self.settings
        tokenizer = load_tokenizer(job.model)
        report = sparsity_report(network)
        with clock.computing(network):
            scores = evaluate(
                network,
                tokenizer,
                settings.tasks,
                self.items,
                batch_tokens=settings.batch_tokens,
            )
        self.stages["evaluate"] = clock.costs()
        self.sparsity |= {"achieved": report.sparsity, "layers": report.layers}
        if job.trained is not None:
            repair = build_repair(job.cell.repair, **job.resolved["repair"])
            evolution = repair.saved_evolution_log(job.trained)
            self.sparsity["evolution"] = sparsity_ranges(evolution)
            self.course = _history(job, repair, evolution, network)
        self.scores = scores

    def write(self, inputs: dict | None = None) -> None:
        """Write samples, history and record; ``inputs`` are those of the record."""
        job = self.job
        write_json_lines(job.samples, self.scores.samples)
        if job.history is not None:
            write_history(job.history, job.cell, self.course)
        record = make_record(
            job.cell,
            job.config,
            sparsity=self.sparsity,
            stages=self.stages,
            metrics=self.scores.metrics,
            samples=job.samples,
            provenance=self.provenance(),
            inputs=inputs,
            error=self.error,
        )
        write_json(job.record, record)

    def provenance(self) -> dict:
        return {
            **provenance(self.device, self.dtype),
            "manifests": {
                "model": sha256(Path(self.job.model) / MANIFEST),
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
        config: its resolved configuration (see :func:`bench.records.record.resolved_config`).
        data: the data sets that decide its numbers (:func:`bench.records.record.data_of`).
        model: folder of the dense model, with the tokenizer.
        base: folder of the pruned model; None for the dense one.
        trained: folder of the training that the cell merges; None for the base as it is.
        calibration: tokens of the calibration text; None for a pruner that needs none.
        code: listings of the source files that decide ``base`` and ``trained``, where known.
        checked: manifest of the data, in the folder of the data sets, beside which lie the data of
            lm-eval's own tasks.
        record: ``record.json`` to write.
        samples: file of the results item by item to write.
        history: file of the training's course and of what it changed to write; None for the dense
            model.
    """

    cell: Cell
    config: dict
    data: dict
    model: str
    base: str | None = None
    trained: str | None = None
    calibration: str | None = None
    code: Mapping[str, str] = field(default_factory=dict)
    checked: str
    record: str
    samples: str
    history: str | None = None

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
    evaluator = Evaluator(job, Pattern.parse(job.cell.pattern).sparsity)
    inputs = job.verify(evaluator.data)
    evaluator.read_outcomes()
    if evaluator.error is None:
        made, evaluator.error = attempt.make("merge", evaluator.merged)
    if evaluator.error is None:
        _, evaluator.error = attempt.make("evaluate", partial(evaluator.measure, *made))
    evaluator.write(inputs)


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
