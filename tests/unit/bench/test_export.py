"""A cell's model as a plain transformers folder: what was evaluated, and nothing else."""

import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from origins import MODEL, blocks, calibration_tokens
from transformers import AutoModelForCausalLM, AutoTokenizer

from baselines.pruning import PRUNERS, sparsity_report
from baselines.repair import REPAIRS
from bench.cells import Cell, base_folder, dense_cell, record_path, training_folder
from bench.data import check
from bench.files import read_json, write_json
from bench.jobs.outcome import Attempt
from bench.origin import SEEN, identity, mark
from bench.records.record import make_record
from bench.stages.evaluate import EvaluationJob, evaluate_cell
from bench.stages.prune import prune_base
from bench.stages.repair import TrainingJob, train_repair
from bench.tools.export import ExportError, default_output, export, main

RUNTIME = {"device": "cpu", "dtype": "bfloat16"}
CALIBRATION = {"data": "x", "samples": 8, "length": 16}
PACKING = {"mixture": {"x": 1.0}, "blocks": 8, "length": 16}
DATA = {"x": {"spec": {"source": "mine"}, "source": MODEL}}
CONFIG = {
    "model": MODEL,
    "pruning": {},
    "calibration": CALIBRATION,
    "training": {"mixture": [{"data": "x"}], "length": 16, "batch_size": 2, "steps": 4},
    "packing": {"train": PACKING},
    "evaluation": {"tasks": {"x": {"data": "x", "metric": "perplexity", "context_length": 16}}},
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
        shutil.copytree(dense, self.model)
        text = Path("resources/data/x")
        text.mkdir(parents=True)
        (text / "train.jsonl").write_text('{"id": "a", "text": "All of it."}\n')
        mark(text, DATA["x"])
        check([text], Path(self.checked))
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
            CONFIG,
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
            config=CONFIG | {"repair": options(cell.repair)},
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
        resolved = {**CONFIG, "runtime": {**RUNTIME, "threads": 1}, "repair": options(cell.repair)}
        return EvaluationJob(
            cell=cell,
            config={"hash": "", "resolved": resolved},
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


@pytest.fixture
def workspace(tmp_path, dense, monkeypatch):
    return Workspace(tmp_path, dense, monkeypatch)


def exported(folder, out, monkeypatch):
    monkeypatch.setattr("sys.argv", ["export", folder, out])
    main()
    return AutoModelForCausalLM.from_pretrained(out, local_files_only=True)


@pytest.mark.parametrize("repair", REPAIRS)
def test_the_exported_model_is_the_evaluated_one(workspace, monkeypatch, repair):
    folder = workspace.cell(repair)
    model = exported(folder, "out", monkeypatch)
    assert torch.equal(logits(model), workspace.evaluated)
    record = read_json(f"{folder}/record.json")
    report = sparsity_report(model)
    assert report.sparsity == record["sparsity"]["achieved"]
    assert report.layers == record["sparsity"]["layers"]


def test_a_base_with_values_of_its_own_is_exported_with_its_tokenizer(workspace, monkeypatch):
    model = exported(workspace.cell("none", pruner="sparsegpt"), "out", monkeypatch)
    assert torch.equal(logits(model), workspace.evaluated)
    assert model.dtype == torch.bfloat16
    text = "The stones are heavy."
    tokenizers = [AutoTokenizer.from_pretrained(path) for path in ("out", workspace.model)]
    assert tokenizers[0](text)["input_ids"] == tokenizers[1](text)["input_ids"]


def test_stages_say_what_they_hold_on_disk(workspace):
    record = read_json(f"{workspace.cell('seft')}/record.json")
    for stage, folder in (("prune", "base"), ("repair", "trained")):
        paths = Path(record["inputs"][folder]).iterdir()
        files = {path.name: path.stat().st_size for path in paths}
        expected = sum(files.values()) - files["stage.json"] - files[SEEN]
        assert record["stages"][stage]["disk_bytes"] == expected


def test_where_a_model_goes_if_nothing_else_is_said():
    cell = "tiny/wanda-s60/seft/seed0"
    for folder in (f"results/cells/{cell}", f"/elsewhere/results/cells/{cell}/"):
        assert str(default_output(Path(folder))) == f"results/export/{cell}"


def refusal(folder, monkeypatch, out="out") -> str:
    monkeypatch.setattr("sys.argv", ["export", folder, out])
    with pytest.raises(SystemExit) as exit_:
        main()
    # sys.exit prints a text on stderr and exits with status 1.
    (line,) = exit_.value.code.splitlines()
    return line


def test_what_cannot_be_exported_is_one_line(workspace, monkeypatch, tmp_path):
    folder = workspace.cell("full")
    record = read_json(f"{folder}/record.json")
    trained = tmp_path / record["inputs"]["trained"]

    assert "no cell; allowed: results/cells/" in refusal("results/cells/tiny", monkeypatch)
    assert "resources: exists" in refusal(folder, monkeypatch, out="resources")

    failed = {**record, "error": {"message": "loss is nan at step 3"}}
    write_json("failed/record.json", failed)
    assert refusal("failed", monkeypatch) == "failed: failed: loss is nan at step 3"
    write_json("other/record.json", {**record, "schema_version": 2})
    assert "schema_version = 2; allowed: 1" in refusal("other", monkeypatch)
    write_json("old/record.json", {**record, "inputs": None})
    assert "does not say what its model was made from" in refusal("old", monkeypatch)

    sparsity = {"requested": 0.0, "achieved": 0.0, "layers": {}}
    dense = make_record(dense_cell("tiny"), {}, sparsity=sparsity, stages={}, provenance={})
    write_json("dense/record.json", dense)
    assert "a transformers folder: resources/models/tiny" in refusal("dense", monkeypatch)

    (weights,) = trained.glob("*.safetensors")
    weights.write_bytes(weights.read_bytes()[:-1])
    assert refusal(folder, monkeypatch).startswith(f"{folder}: ")
    trained.rename(tmp_path / "moved")
    assert f"{record['inputs']['trained']}, which is not there" in refusal(folder, monkeypatch)
    assert not (tmp_path / "out").exists()


def test_a_base_that_changed_since_the_evaluation_is_not_exported(workspace, tmp_path):
    folder = tmp_path / workspace.cell("none")
    record = read_json(folder / "record.json")
    shutil.rmtree(record["inputs"]["base"])
    shutil.move(workspace.base("magnitude"), record["inputs"]["base"])
    with pytest.raises(ExportError, match=r"base has changed since; run the cell again$"):
        export(folder, tmp_path / "out")
    assert not (tmp_path / "out").exists()
