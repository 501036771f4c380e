"""The stage that evaluates a cell, where it fails."""

import torch
import yaml
from origins import as_fetched

from bench.cells import Cell
from bench.config import load, project_root
from bench.data import check
from bench.files import read_json, write_json
from bench.jobs.outcome import Attempt
from bench.origin import STAGE_FILE, mark
from bench.records.record import data_of, prune_config, resolved_config
from bench.stages.evaluate import EvaluationJob, evaluate_cell
from bench.stages.inputs import of_base


def test_a_node_without_the_gpu_that_is_asked_for_is_a_failed_row(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    values = yaml.safe_load((project_root() / "config/config.yaml").read_text())
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
    check([data / name for name in asked], data / "manifest.json")
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
