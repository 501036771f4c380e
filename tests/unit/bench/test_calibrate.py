"""Calibration: what is measured here is what the plan reads."""

import json
from pathlib import Path

import pytest
import torch
import yaml

from bench.planning.speeds import CALIBRATION, Device, device_of
from bench.tools import calibrate

SHAPE = {
    "blocks": 2,
    "hidden": 16,
    "intermediate": 24,
    "heads": 2,
    "key_value_heads": 1,
    "vocabulary": 64,
}
MODEL = {"source": {"source": "hub", "repository": "a/b", "revision": "0" * 40}}


@pytest.fixture
def grid(tmp_path, monkeypatch):
    """Writes the configuration of a grid of one model; its path."""
    monkeypatch.chdir(tmp_path)

    def write(model: dict, device: str = "cpu") -> str:
        values = {
            "grid": {"models": ["mine"]},
            "models": {"mine": model},
            "training": {"length": 16},
            "runtime": {"device": device, "dtype": "float32"},
        }
        Path("grid.yaml").write_text(yaml.safe_dump(values))
        return "grid.yaml"

    return write


def test_the_plan_reads_what_was_measured(grid, monkeypatch, capsys):
    monkeypatch.setattr(calibrate, "STEPS", 2)
    calibrate.main(["--configfile", grid(MODEL | {"shape": SHAPE})])
    found = Device(**json.loads(CALIBRATION.read_text()))
    assert found == device_of("cpu", dtype="float32")
    assert found != device_of("cpu", dtype="bfloat16")
    assert found.speed > 0
    assert found.launch > 0
    assert "calibrated with lora and batches of 2 x 16" in capsys.readouterr().out


def test_the_speed_is_the_work_of_a_step_in_its_seconds(grid, monkeypatch):
    seconds = {16: 0.5, calibrate.FEW_TOKENS: 0.24}
    monkeypatch.setattr(
        calibrate, "measure", lambda settings: {"step_seconds": seconds[settings.length]}
    )
    calibrate.main(["--configfile", grid(MODEL | {"shape": SHAPE})])
    prunable = calibrate.BLOCKS * (16 * 16 + 2 * 8 * 16 + 16 * 16 + 3 * 16 * 24)
    parameters = prunable + 2 * 64 * 16 + (2 * calibrate.BLOCKS + 1) * 16
    # Forward, and the gradient of the input, of two operations a weight and token.
    assert device_of("cpu", dtype="float32").speed == pytest.approx(4 * parameters * 2 * 16 / 0.5)
    assert device_of("cpu", dtype="float32").launch == pytest.approx(0.24 / 3 / calibrate.BLOCKS)


def test_a_grid_of_unknown_shape_is_one_line(grid, capsys):
    with pytest.raises(SystemExit) as exit_:
        calibrate.main(["--configfile", grid(MODEL)])
    assert exit_.value.code == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("config: models.mine.shape: ")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_one_line(grid, capsys):
    with pytest.raises(SystemExit) as exit_:
        calibrate.main(["--configfile", grid(MODEL | {"shape": SHAPE}, "cuda")])
    assert exit_.value.code == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("runtime.device = 'cuda': ")
