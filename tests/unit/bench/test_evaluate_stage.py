"""The stage that evaluates a cell: where it fails, and where it does not."""

import pytest
import torch
from cells_on_disk import Workspace
from layers import read_layers
from origins import as_fetched
from safetensors.torch import load_file, save_file

from bench.cells import Cell
from bench.config.loading import load
from bench.data.disjoint import Parts, check
from bench.files import read_json, read_json_lines, write_json
from bench.jobs.outcome import Attempt
from bench.origin import STAGE_FILE, mark
from bench.records.record import data_of, prune_config, resolved_config
from bench.sources import SyntheticSource, fetch_model
from bench.sources.base import write_manifest
from bench.stages.evaluate import EvaluationJob, evaluate_cell
from bench.stages.inputs import of_base


def test_a_node_without_the_gpu_that_is_asked_for_is_a_failed_row(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    values = read_layers()
    values["runtime"]["device"] = "cuda"
    values["models"]["smollm2-135m"]["source"] = {"source": "synthetic"}
    config, cell = load(values), Cell("smollm2-135m", "magnitude", "s60", "none", 0)
    model, base, data = (tmp_path / name for name in ("model", "base", "data"))
    model.mkdir()
    as_fetched(model)
    asked = data_of(config, cell)
    for name, made_from in asked.items():
        (data / name).mkdir(parents=True)
        mark(data / name, made_from)
    sets = [data / name for name in asked]
    check(sets, data / "manifest.json", Parts(), tmp_path / "overlaps.jsonl")
    made_from = of_base(cell, prune_config(config, cell), model=model, code=None)
    outcome = {"error": None, "costs": {"seconds": 1.0}}
    write_json(base / STAGE_FILE, {**outcome, "files": {}, "made_from": made_from})
    job = EvaluationJob(
        cell=cell,
        config=resolved_config(config, cell),
        data=asked,
        model=str(model),
        base=str(base),
        trained=None,
        calibration=None,
        code={},
        checked=str(data / "manifest.json"),
        record=str(tmp_path / "record.json"),
        samples=str(tmp_path / "samples.jsonl.gz"),
        history=str(tmp_path / "history.json.gz"),
    )
    evaluate_cell(job, Attempt(2, 2, "results/logs/evaluate.log"))
    record = read_json(tmp_path / "record.json")
    assert record["status"] == "failed"
    assert "has no GPU that torch can use" in record["error"]["message"]
    assert record["error"]["log"] == "results/logs/evaluate.log"
    assert record["stages"]["prune"] == {"seconds": 1.0}
    assert record["provenance"]["accelerator"] is None
    assert record["provenance"]["dtype"] is None


def evaluated(folder, dense, monkeypatch, repair) -> tuple[torch.Tensor, dict, dict]:
    """What a cell's model answers, its record and its history."""
    folder.mkdir(exist_ok=True)
    workspace = Workspace(folder, dense, monkeypatch)
    record = read_json(f"{workspace.cell(repair)}/record.json")
    return workspace.evaluated, record, read_json_lines("results/history.json.gz")[0]


@pytest.mark.parametrize("repair", ["none", "lora", "seft"])
@pytest.mark.parametrize("architecture", ["opt", "llama"])
def test_the_same_weights_under_other_names(tmp_path, monkeypatch, architecture, repair):
    dense = tmp_path / "dense"
    source = SyntheticSource(source="synthetic", architecture=architecture)
    fetch_model(source, dense)
    expected, record, history = evaluated(tmp_path / "whole", dense, monkeypatch, repair)
    file = dense / "model.safetensors"
    tensors = {name.removeprefix("model."): t for name, t in load_file(file).items()}
    save_file(tensors, file, metadata={"format": "pt"})
    write_manifest(dense, source)
    found, other, same = evaluated(tmp_path / "renamed", dense, monkeypatch, repair)
    assert (record["status"], other["status"]) == ("ok", "ok")
    assert torch.equal(found, expected)
    assert other["sparsity"] == record["sparsity"]
    assert same["layers"] == history["layers"]
    assert (history["layers"] == {}) == (repair == "none")


def test_data_of_a_figure_that_cannot_be_had_fail_no_cell(dense, tmp_path, monkeypatch, capsys):
    def broken(*_, **__):
        raise KeyError("no such layer")

    expected, *_ = evaluated(tmp_path / "whole", dense, monkeypatch, "seft")
    monkeypatch.setattr("bench.stages.evaluate.read_base_layers", broken)
    found, record, history = evaluated(tmp_path / "broken", dense, monkeypatch, "seft")
    assert record["status"] == "ok"
    assert record["sparsity"]["evolution"]
    assert torch.equal(found, expected)
    assert history["layers"] == {}
    assert "warning: no history" in capsys.readouterr().err
