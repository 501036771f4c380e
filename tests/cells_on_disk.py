"""A working folder with cells in it, made by the stages of the workflow but for the scores."""

import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import torch
from origins import MODEL, blocks, calibration_tokens

from baselines.pruning import PRUNERS
from baselines.repair import REPAIRS
from bench.cells import Cell, base_folder, record_path, training_folder
from bench.data.disjoint import Parts, check
from bench.files import read_json
from bench.jobs.outcome import Attempt
from bench.origin import MANIFEST, digest_of, identity, mark
from bench.stages.evaluate import EvaluationJob, evaluate_cell
from bench.stages.prune import prune_base
from bench.stages.repair import train_repair
from bench.stages.training_job import TrainingJob

RUNTIME = {"device": "cpu", "dtype": "bfloat16"}
CALIBRATION = {"data": "x", "samples": 8, "length": 16}
PACKING = {"mixture": {"x": 1.0}, "blocks": 8, "length": 16}
DATA = {"x": {"spec": {"source": "mine"}, "source": MODEL}}
CONFIG = {
    "model": MODEL,
    "pruning": {},
    "calibration": CALIBRATION,
    "training": {
        "mixture": [{"data": "x"}],
        "split": "train",
        "length": 16,
        "batch_size": 2,
        "steps": 4,
    },
    "packing": {"train": PACKING},
    "evaluation": {
        "tasks": {"x": {"data": "x", "metric": "perplexity", "context_length": 16, "limit": None}}
    },
    "runtime": RUNTIME,
}
TOKENS = torch.randint(0, 300, (8, 16), generator=torch.Generator().manual_seed(0))


def logits(model):
    with torch.no_grad():
        return model(input_ids=TOKENS).logits


def options(repair: str) -> dict:
    """What shows in four steps."""
    wanted = {"learning_rate": 1e-2, "evolve_every": 2, "accumulate_steps": 1}
    return {key: wanted[key] for key in wanted if key in REPAIRS[repair].Options.model_fields}


class Workspace:
    """A working folder with cells in it, made by the stages of the workflow but for the scores."""

    model = "resources/models/tiny"
    calibration = "resources/calibration.safetensors"
    blocks = "resources/train.safetensors"
    checked = "resources/data/manifest.json"

    def __init__(self, folder, dense, monkeypatch):
        monkeypatch.chdir(folder)
        self.config = CONFIG | {"model": read_json(dense / MANIFEST)["source"]}
        shutil.copytree(dense, self.model)
        text = Path("resources/data/x")
        text.mkdir(parents=True)
        (text / "train.jsonl").write_text('{"id": "a", "text": "All of it."}\n')
        mark(text, DATA["x"])
        check([text], Path(self.checked), Parts(), Path("resources/overlaps.jsonl"))
        data = {"x": identity(text)}
        calibration_tokens(self.calibration, TOKENS, self.model, CALIBRATION, data)
        blocks(self.blocks, TOKENS, TOKENS.clone(), self.model, PACKING, data)
        self.evaluated = None

        def score(model, *arguments, **keywords):
            self.evaluated = logits(model)
            return SimpleNamespace(metrics=[], samples=[])

        monkeypatch.setattr("bench.stages.evaluate.evaluate", score)

    def base(self, pruner):
        folder = f"results/checkpoints/tiny/{pruner}-s60/base"
        reads = PRUNERS[pruner]().reads_calibration
        prune_base(
            Cell("tiny", pruner, "s60", "none", 0),
            self.config,
            model=self.model,
            calibration=self.calibration if reads else None,
            code=None,
            output=folder,
            attempt=Attempt(),
        )
        return folder

    def cell(self, repair, pruner="wanda"):
        """The folder of a new cell; ``evaluated`` is what its model answered in evaluation."""
        cell = Cell("tiny", pruner, "s60", repair, 0)
        self.base(pruner)
        training = REPAIRS[repair].training
        if training is not None:
            train_repair(self.training(replace(cell, repair=training)), Attempt())
        evaluate_cell(self.evaluation(cell), Attempt())
        return record_path(cell).removesuffix("/record.json")

    def training(self, cell) -> TrainingJob:
        return TrainingJob(
            cell=cell,
            config=self.config | {"repair": options(cell.repair)},
            model=self.model,
            base=base_folder("results/checkpoints", cell),
            blocks=self.blocks,
            code=None,
            base_code=None,
            output=training_folder("results/checkpoints", cell, cell.repair),
            checkpoint_minutes=15,
        )

    def evaluation(self, cell) -> EvaluationJob:
        training = REPAIRS[cell.repair].training
        trained = training and training_folder("results/checkpoints", cell, training)
        reads = PRUNERS[cell.pruner]().reads_calibration
        resolved = {
            **self.config,
            "runtime": {**RUNTIME, "threads": 1},
            **({} if training is None else {"repair": options(cell.repair)}),
        }
        return EvaluationJob(
            cell=cell,
            config={"hash": digest_of(resolved), "resolved": resolved},
            data=DATA,
            model=self.model,
            base=base_folder("results/checkpoints", cell),
            trained=trained,
            calibration=self.calibration if reads else None,
            code={},
            checked=self.checked,
            record=record_path(cell),
            samples="results/samples.jsonl.gz",
            history="results/history.json.gz",
        )
