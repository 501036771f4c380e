"""Outcomes of stages, whole files, measurement, and the job of a script."""

import io
import os
import signal
import sys
from contextlib import suppress
from hashlib import sha256
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn
from tqdm import tqdm

from bench.data.forms import DataError
from bench.files import read_json, read_json_lines, whole, write_json, write_json_lines
from bench.jobs.job import Job, Told
from bench.jobs.measure import StageClock
from bench.jobs.outcome import Attempt, read_outcome, run_stage
from bench.jobs.provenance import cluster_job


def fail(folder):
    (folder / "half").write_text("half a result")
    raise RuntimeError("out of\nluck")


def succeed(folder):
    (folder / "weights").write_text("all of it")
    return {"seconds": 1.0}


def test_a_stage_that_succeeds(tmp_path):
    made_from = {"model": "0" * 64}
    run_stage("prune", tmp_path / "base", Attempt(), succeed, made_from=made_from)
    assert (tmp_path / "base/weights").read_text() == "all of it"
    costs = {"seconds": 1.0, "disk_bytes": len("all of it"), "cluster_job": cluster_job()}
    assert read_outcome(tmp_path / "base") == {
        "error": None,
        "costs": costs,
        "files": {"weights": {"sha256": sha256(b"all of it").hexdigest(), "bytes": 9}},
        "made_from": made_from,
    }


def test_while_retries_remain_the_error_is_raised_and_nothing_is_left(tmp_path):
    with pytest.raises(RuntimeError, match="out of"):
        run_stage("prune", tmp_path / "base", Attempt(1, 2), fail, made_from={})
    assert list(tmp_path.iterdir()) == []


def test_the_last_attempt_says_why_it_failed_and_leaves_no_half_result(tmp_path):
    run_stage("repair", tmp_path / "lora", Attempt(2, 2, "lora.log"), fail, made_from={})
    assert [path.name for path in (tmp_path / "lora").iterdir()] == ["stage.json"]
    assert read_outcome(tmp_path / "lora") == {
        "error": {
            "class": "RuntimeError",
            "message": "out of luck",
            "stage": "repair",
            "attempt": 2,
            "log": "lora.log",
        },
        "costs": None,
        "files": {},
        "made_from": {},
    }


def test_an_earlier_failure_is_passed_on_without_work(tmp_path):
    run_stage("prune", tmp_path / "base", Attempt(), fail, made_from={})
    needs = (tmp_path / "base",)
    run_stage("repair", tmp_path / "lora", Attempt(), succeed, made_from={}, needs=needs)
    assert read_outcome(tmp_path / "lora")["error"]["stage"] == "prune"
    assert not (tmp_path / "lora/weights").exists()


def test_an_interrupt_is_no_outcome(tmp_path):
    def interrupted(folder):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_stage("prune", tmp_path / "base", Attempt(), interrupted, made_from={})
    assert list(tmp_path.iterdir()) == []


def test_whole_keeps_what_was_there_when_the_block_fails(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text("old")

    def interrupted():
        with whole(path) as temporary:
            temporary.write_text("half")
            raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        interrupted()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_whole_replaces_a_folder(tmp_path):
    folder = tmp_path / "model"
    (folder / "old").mkdir(parents=True)
    with whole(folder) as temporary:
        temporary.mkdir()
        (temporary / "new").write_text("x")
    assert [path.name for path in folder.iterdir()] == ["new"]


def test_json_has_null_and_never_a_number_that_is_none(tmp_path):
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "a.json", {"value": float("nan")})
    assert list(tmp_path.iterdir()) == []
    write_json(tmp_path / "a.json", {"value": None})
    assert read_json(tmp_path / "a.json") == {"value": None}


def test_equal_samples_give_equal_bytes(tmp_path):
    rows = [{"task": "a", "id": "1", "acc": 1.0}, {"task": "a", "id": "2", "acc": 0.0}]
    write_json_lines(tmp_path / "a.gz", rows)
    write_json_lines(tmp_path / "b.gz", rows)
    assert (tmp_path / "a.gz").read_bytes() == (tmp_path / "b.gz").read_bytes()
    assert read_json_lines(tmp_path / "a.gz") == rows


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_bars_are_told_apart_and_are_lines_where_nobody_sees_them_redrawn():
    terminal, log = Terminal(), io.StringIO()
    told = Told("repair wanda s60", terminal, log)
    for _ in tqdm(range(2), desc="train", file=told, mininterval=0, bar_format="{desc} {n_fmt}"):
        pass
    print("an error", file=told)
    lines = log.getvalue().splitlines()
    assert set(lines[:-1]) == {f"repair wanda s60: train {n}" for n in range(3)}
    assert lines[-1] == "an error"
    shown = terminal.getvalue()
    assert shown.startswith("\rrepair wanda s60: train 0")
    assert shown.endswith("train 2\nan error\n")


def test_peak_memory_is_that_of_the_stage_above_what_was_held_before():
    held = np.ones(200 * 2**17)  # 200 MiB, before the stage
    clock = StageClock()
    with clock.computing():
        temporary = np.ones(100 * 2**17)  # 100 MiB, given back inside the stage
        del temporary
    costs = clock.costs()
    assert held[0] == 1
    assert 90 * 2**20 < costs["peak_rss_bytes"] < 150 * 2**20
    assert costs["peak_device_bytes"] is None


def test_weights_that_are_mapped_are_held_before_the_stage(tmp_path):
    file = tmp_path / "weights"
    np.zeros(64 * 2**18, dtype=np.float32).tofile(file)
    model = nn.Linear(1, 64 * 2**18, bias=False, device="meta")
    mapped = np.memmap(file, dtype=np.float32, mode="c")
    model.weight = nn.Parameter(torch.from_numpy(mapped).view(-1, 1))
    clock = StageClock()
    with clock.computing(model):
        assert model.weight.detach().sum() == 0
    assert clock.costs()["peak_rss_bytes"] < 32 * 2**20


def test_time_is_startup_loading_or_computing(monkeypatch):
    now = SimpleNamespace(wall=100.0, inside=0.0)
    monkeypatch.setattr("bench.jobs.measure.time.time", lambda: now.wall)
    monkeypatch.setattr("bench.jobs.measure.time.perf_counter", lambda: now.inside)
    clock = StageClock(since=90.0)
    now.wall = 103.0
    with clock.computing():
        now.wall, now.inside = 110.0, 7.0
    now.wall = 111.0
    costs = clock.costs()
    assert (costs["startup_seconds"], costs["seconds"], costs["loading_seconds"]) == (10, 7, 4)


def test_time_without_a_core_is_a_part_of_computing(monkeypatch):
    ready = iter([1.0, 1.5, 4.0, 4.25])
    monkeypatch.setattr("bench.jobs.measure.waited", lambda: next(ready))
    peaks = {"peak_rss_bytes": None, "peak_device_bytes": None}
    clock = StageClock()
    clock.go_on_from({"seconds": 10.0, "waited_seconds": 2.0} | peaks)
    for _ in range(2):
        with clock.computing():
            pass
    assert clock.costs()["waited_seconds"] == 2.75

    clock.go_on_from({"seconds": 10.0, "waited_seconds": None} | peaks)
    assert clock.costs()["waited_seconds"] is None


def snakemake(tmp_path) -> SimpleNamespace:
    return SimpleNamespace(
        rule="repair",
        wildcards=["tiny", "wanda"],
        log=[str(tmp_path / "job.log")],
        threads=1,
        resources={"attempt": 2, "attempts": 3},
        input={"trained": [], "base": "base"},
    )


def test_a_jobs_standard_error_is_in_its_log_as_well(tmp_path, monkeypatch):
    terminal = io.StringIO()
    monkeypatch.setattr(sys, "stderr", terminal)
    with Job(snakemake(tmp_path)) as job:
        print("half way", file=sys.stderr)
        assert job.attempt == Attempt(2, 3, str(tmp_path / "job.log"))
        assert job.optional("trained") is None
        assert job.optional("base") == "base"
    assert terminal.getvalue() == (tmp_path / "job.log").read_text() == "half way\n"
    assert sys.stderr is terminal


def test_an_error_of_the_users_input_is_its_line_alone(tmp_path, monkeypatch):
    terminal = io.StringIO()
    monkeypatch.setattr(sys, "stderr", terminal)
    with pytest.raises(SystemExit) as exit_, Job(snakemake(tmp_path)):
        raise DataError("data.x: no file")
    assert exit_.value.code == 1
    assert terminal.getvalue() == (tmp_path / "job.log").read_text() == "data.x: no file\n"


def test_what_an_interrupt_breaks_is_no_outcome(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    before = signal.getsignal(signal.SIGINT)

    def swallowed(folder):
        with suppress(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
        raise ModuleNotFoundError("half imported")

    parameters = snakemake(tmp_path)
    parameters.resources |= {"attempt": 3}
    with pytest.raises(ModuleNotFoundError), Job(parameters) as job:
        run_stage("prune", tmp_path / "base", job.attempt, swallowed, made_from={})
    assert [path.name for path in tmp_path.iterdir()] == ["job.log"]
    assert signal.getsignal(signal.SIGINT) is before


def test_another_error_keeps_its_traceback_in_the_log(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    with pytest.raises(KeyError), Job(snakemake(tmp_path)):
        raise KeyError("bug")
    log = (tmp_path / "job.log").read_text()
    assert "Traceback" in log
    assert "KeyError: 'bug'" in log
