"""Evaluate a model, and write its record."""

import sys
import time
import traceback
from pathlib import Path

import torch
from torch import nn

from baselines.pruning.layers import sparsity_report
from baselines.pruning.pattern import Pattern
from baselines.repair import REPAIRS
from bench.cells import Cell
from bench.config import Evaluation
from bench.config.variants import method_of
from bench.evaluation import evaluate
from bench.files import read_json, write_json, write_json_lines
from bench.jobs.measure import StageClock
from bench.jobs.outcome import LOG_FILE, Attempt, read_outcome
from bench.jobs.provenance import provenance
from bench.models.bases import load_base, read_base_layers
from bench.models.loading import load_model, load_tokenizer, pick_device, pick_dtype
from bench.models.merging import merge
from bench.records.history import make_history, no_history, sparsity_ranges, write_history
from bench.records.record import describe_error, make_record
from bench.sources.manifest import MANIFEST, sha256


class Evaluator:
    """Evaluates the models of one job, and makes their records.

    Args:
        config: the cell's resolved configuration (see :func:`bench.records.resolved_config`).
        model: folder of the dense model, with the tokenizer.
        checked: manifest of the data, in the folder of the data sets, beside which lie the data of
            lm-eval's own tasks.
    """

    def __init__(self, config: dict, model: str, checked: str):
        resolved = config["resolved"]
        self.config = config
        self.resolved = resolved
        self.model = Path(model)
        self.checked = Path(checked)
        self.settings = Evaluation(**resolved["evaluation"])
        self.items = {
            name: task.items(name, self.checked.parents[1])
            for name, task in self.settings.tasks.items()
        }
        self.device: torch.device | None = None
        self.dtype: torch.dtype | None = None

    def start(self) -> StageClock:
        """Find the device, and start measuring on it.

        Raises:
            RuntimeError: a GPU is asked for, and there is none.
        """
        runtime = self.resolved["runtime"]
        self.device = pick_device(runtime["device"])
        self.dtype = pick_dtype(runtime["dtype"], self.device)
        return StageClock(self.device)

    def load(self, folder: str | Path) -> nn.Module:
        return load_model(folder, self.device, self.dtype)

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
                "data": sha256(self.checked),
                "tasks": {
                    name: sha256(self.items[name] / MANIFEST)
                    for name, task in self.settings.tasks.items()
                    if task.data is None
                },
            },
        }


def _history(
    base: str, dense: str, trained: str, evolution: list[dict], network: nn.Module
) -> dict:
    """The history of a training, for the figures: without one the cell is no less evaluated."""
    try:
        return make_history(
            read_json(Path(trained) / LOG_FILE),
            evolution,
            read_base_layers(base, dense=dense, model=network),
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


def evaluate_cell(
    cell: Cell,
    config: dict,
    *,
    model: str,
    base: str,
    trained: str | None,
    calibration: str | None,
    checked: str,
    record: str,
    samples: str,
    history: str,
    attempt: Attempt,
) -> None:
    """Merge the cell's repair into its base, evaluate that, and write the cell's record.

    While retries remain an error is raised; on the last attempt the record says why it failed,
    as it does when pruning or training failed before.

    Args:
        cell: whose record it is.
        config: its resolved configuration.
        model: folder of the dense model.
        base: folder of the pruned model.
        trained: folder of the training that the cell merges; None for the base as it is.
        calibration: tokens to re-prune with; None when nothing is re-pruned, or without tokens.
        checked: manifest of the data, in the data's folder.
        record: ``record.json`` to write.
        samples: file of the results item by item to write.
        history: file of the training's course and of what it changed to write.
        attempt: the number of this attempt.
    """
    evaluator = Evaluator(config, model, checked)
    sparsity = {
        "requested": Pattern.parse(cell.pattern).sparsity,
        "achieved": None,
        "layers": None,
        "evolution": None,
    }
    stages = {"prune": None, "repair": None, "merge": None, "evaluate": None}
    scores, error, course = None, None, no_history()
    for stage, folder in {"prune": base, "repair": trained}.items():
        if folder is not None and error is None:
            outcome = read_outcome(folder)
            stages[stage], error = outcome["costs"], outcome["error"]
    stage = "merge"
    try:
        if error is None:
            clock = evaluator.start()
            network = load_base(base, dense=model, device=evaluator.device, dtype=evaluator.dtype)
            if trained is not None:
                with clock.computing(network):
                    network = merge(cell, evaluator.resolved, network, trained, calibration)
                stages["merge"] = clock.costs()
                clock = StageClock(evaluator.device, since=time.time())
            stage = "evaluate"
            report, scores, stages["evaluate"] = evaluator.measure(network, clock)
            sparsity |= {"achieved": report.sparsity, "layers": report.layers}
            if trained is not None:
                method = REPAIRS[method_of(cell.repair, evaluator.resolved)]
                evolution = method.evolution(Path(trained))
                sparsity["evolution"] = sparsity_ranges(evolution)
                course = _history(base, model, trained, evolution, network)
    except Exception as failure:
        if not attempt.is_final:
            raise
        traceback.print_exc()
        error = describe_error(failure, stage, attempt.number, attempt.log)
    write_json_lines(samples, scores.samples if scores is not None and error is None else [])
    write_history(history, cell, course)
    write_json(
        record,
        make_record(
            cell,
            config,
            sparsity=sparsity,
            stages=stages,
            metrics=scores.metrics if error is None else [],
            samples=samples,
            provenance=evaluator.provenance(),
            inputs={"model": model, "base": base, "trained": trained, "calibration": calibration},
            error=error,
        ),
    )
