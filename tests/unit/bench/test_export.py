"""A cell's model as a plain transformers folder: what was evaluated, and nothing else."""

import shutil
from dataclasses import asdict
from pathlib import Path

import pytest
import torch
from cells_on_disk import Workspace, logits
from transformers import AutoModelForCausalLM, AutoTokenizer

from baselines.pruning import sparsity_report
from baselines.repair import REPAIRS
from bench.cells import Cell, dense_cell, record_path
from bench.files import read_json, write_json
from bench.origin import SEEN
from bench.records.record import describe_error
from bench.tools.export import default_output, export, main


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

    def changed(**entries) -> str:
        cell = Cell(**entries.get("cell", record["cell"]))
        path = Path("elsewhere", record_path(cell))
        write_json(path, record | entries)
        return str(path.parent)

    error = describe_error(FloatingPointError("loss is nan at step 3"), "repair", 1)
    failed = changed(status="failed", error=error)
    assert refusal(failed, monkeypatch) == f"{failed}: failed: loss is nan at step 3"
    assert "schema_version = 2: allowed: 1" in refusal(changed(schema_version=2), monkeypatch)
    old = changed(inputs=None)
    assert "does not say what its model was made from" in refusal(old, monkeypatch)
    dense = changed(cell=asdict(dense_cell("tiny")))
    assert "a transformers folder: resources/models/tiny" in refusal(dense, monkeypatch)

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
    with pytest.raises(ValueError, match=r"base has changed since; run the cell again$"):
        export(folder, tmp_path / "out")
    assert not (tmp_path / "out").exists()
