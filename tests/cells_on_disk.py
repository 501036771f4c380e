"""A working folder with cells in it, made by the stages of the workflow but for the scores."""

import shutil
from types import SimpleNamespace

import torch
from safetensors.torch import save_file

from baselines.repair import REPAIRS
from bench.cells import Cell, record_path
from bench.data.tokens import Packed
from bench.files import write_json
from bench.jobs.outcome import Attempt
from bench.stages.evaluate import evaluate_cell
from bench.stages.prune import prune_base
from bench.stages.repair import train_repair

TRAINING = {"mixture": [{"data": "x"}], "length": 16, "batch_size": 2, "steps": 4}
RUNTIME = {"device": "cpu", "dtype": "bfloat16"}
TASKS = {"wiki": {"data": "wiki", "metric": "perplexity", "context_length": 16}}
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

    def __init__(self, folder, dense, monkeypatch):
        monkeypatch.chdir(folder)
        shutil.copytree(dense, self.model)
        save_file({"input_ids": TOKENS}, self.calibration)
        Packed(TOKENS, TOKENS.clone(), {}).save(self.blocks)
        write_json("resources/data/manifest.json", {})
        self.evaluated = None

        def score(model, *arguments, **keywords):
            self.evaluated = logits(model)
            return SimpleNamespace(metrics=[], samples=[])

        monkeypatch.setattr("bench.stages.evaluate.evaluate", score)

    def base(self, pruner):
        folder = f"results/checkpoints/tiny/{pruner}-s60/base"
        prune_base(
            self.model,
            self.calibration,
            folder,
            pruner=pruner,
            pattern="s60",
            options={},
            runtime=RUNTIME,
            attempt=Attempt(),
        )
        return folder

    def cell(self, repair, pruner="wanda"):
        """The folder of a new cell; ``evaluated`` is what its model answered in evaluation."""
        cell = Cell("tiny", pruner, "s60", repair, 0)
        base, training, trained = self.base(pruner), REPAIRS[repair].training, None
        if training is not None:
            trained = f"results/checkpoints/tiny/{pruner}-s60/{training}/seed0"
            train_repair(
                self.model,
                base,
                self.blocks,
                trained,
                method=training,
                pattern="s60",
                options=options(training),
                training=TRAINING,
                seed=0,
                runtime=RUNTIME,
                code=[],
                checkpoint_minutes=15,
                attempt=Attempt(),
            )
        record = record_path(cell)
        resolved = {
            "evaluation": {"tasks": TASKS},
            "runtime": {**RUNTIME, "threads": 1},
            "pruning": {},
            "repair": options(repair),
        }
        evaluate_cell(
            cell,
            {"hash": "", "resolved": resolved},
            model=self.model,
            base=base,
            trained=trained,
            calibration=self.calibration,
            checked="resources/data/manifest.json",
            record=record,
            samples="results/samples.jsonl.gz",
            history="results/history.json.gz",
            attempt=Attempt(),
        )
        return record.removesuffix("/record.json")
