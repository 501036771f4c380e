"""The stage that evaluates a cell, where it fails."""

import torch
import yaml

from bench.cells import Cell
from bench.config import load, project_root
from bench.files import read_json, write_json
from bench.jobs.outcome import STAGE_FILE, Attempt
from bench.records.record import resolved_config
from bench.stages.evaluate import evaluate_cell


def test_a_node_without_the_gpu_that_is_asked_for_is_a_failed_row(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    values = yaml.safe_load((project_root() / "config/config.yaml").read_text())
    values["runtime"]["device"] = "cuda"
    cell = Cell("smollm2-135m", "wanda", "s60", "none", 0)
    for folder in ("model", "data"):
        write_json(tmp_path / folder / "manifest.json", {})
    write_json(tmp_path / "base" / STAGE_FILE, {"error": None, "costs": {"seconds": 1.0}})
    evaluate_cell(
        cell,
        resolved_config(load(values), cell),
        model=str(tmp_path / "model"),
        base=str(tmp_path / "base"),
        trained=None,
        calibration=None,
        checked=str(tmp_path / "data/manifest.json"),
        record=str(tmp_path / "record.json"),
        samples=str(tmp_path / "samples.jsonl.gz"),
        history=str(tmp_path / "history.json.gz"),
        attempt=Attempt(2, 2, "results/logs/evaluate.log"),
    )
    record = read_json(tmp_path / "record.json")
    assert record["status"] == "failed"
    assert "has no GPU that torch can use" in record["error"]["message"]
    assert record["error"]["log"] == "results/logs/evaluate.log"
    assert record["stages"]["prune"] == {"seconds": 1.0}
    assert record["provenance"]["accelerator"] is None
    assert record["provenance"]["dtype"] is None
