"""The stage that trains a repair: interruptions, lack of memory, and failures as rows."""

import os
import shutil
import signal
from types import SimpleNamespace

import pytest
import torch
from origins import MODEL, as_fetched, blocks
from safetensors.torch import load_file
from tiny import tiny_llama

import bench.training.train
from bench.cells import Cell
from bench.config.training import Training
from bench.files import read_json, write_json
from bench.jobs.outcome import Attempt, read_outcome
from bench.stages.prune import prune_base
from bench.stages.repair import train_repair
from bench.stages.training_job import TrainingJob

TRAINING = Training(mixture=[{"data": "x"}], length=8, batch_size=4, steps=6).model_dump()
RUNTIME = {"device": "cpu", "dtype": "float32"}
PACKING = {"mixture": {"x": 1.0}, "split": "train", "blocks": 24, "length": 8, "prompt_loss": False}
CELL = Cell("tiny", "magnitude", "s50", "full", 0)
CONFIG = {
    "model": MODEL,
    "pruning": {},
    "training": TRAINING,
    "packing": {"train": PACKING},
    "runtime": RUNTIME,
}


@pytest.fixture
def stage(tmp_path):
    """Runs the stage on a tiny model; the folders that it reads and writes."""
    tiny_llama().save_pretrained(tmp_path / "model")
    as_fetched(tmp_path / "model")
    prune_base(
        CELL,
        CONFIG,
        model=str(tmp_path / "model"),
        calibration=None,
        code=None,
        output=str(tmp_path / "base"),
        attempt=Attempt(),
    )
    ids = torch.randint(0, 32, (24, 8), generator=torch.Generator().manual_seed(1))
    labels = ids.clone()
    # Blocks differ in how many tokens count: a mean of means would not be the mean.
    labels[::2, :6] = -100
    blocks(
        tmp_path / "train.safetensors", ids, labels, tmp_path / "model", PACKING, {"x": "0" * 64}
    )
    code = tmp_path / "repair-full.sha256"
    code.write_text("first")

    def run(output="trained", *, runtime=RUNTIME, minutes=60, attempt=None, processes=1, **options):
        marker = tmp_path / "base/stage.json"
        base = read_json(marker)
        # As a run on that device would have pruned it.
        write_json(marker, base | {"made_from": base["made_from"] | {"runtime": runtime}})
        job = TrainingJob(
            cell=CELL,
            config=CONFIG | {"runtime": runtime, "repair": {"learning_rate": 1e-2, **options}},
            model=str(tmp_path / "model"),
            base=str(tmp_path / "base"),
            blocks=str(tmp_path / "train.safetensors"),
            code=str(code),
            base_code=None,
            output=str(tmp_path / output),
            checkpoint_minutes=minutes,
        )
        train_repair(job, attempt or Attempt(log="results/logs/repair.log"), processes)
        outcome = read_outcome(tmp_path / output)
        state = tmp_path / output / "repair.safetensors"
        return outcome, load_file(state) if state.exists() else None

    return SimpleNamespace(run=run, folder=tmp_path, code=code)


def patch_loss(monkeypatch, before) -> None:
    """Let ``before`` see the number of each forward pass, and its labels."""
    original, count = bench.training.train.next_token_loss, iter(range(1000))

    def loss(outputs, labels, **keywords):
        before(next(count), labels)
        return original(outputs, labels, **keywords)

    monkeypatch.setattr(bench.training.train, "next_token_loss", loss)


def end_after(monkeypatch, passes: int) -> None:
    def before(number, labels):
        if number == passes:
            os.kill(os.getpid(), signal.SIGTERM)

    patch_loss(monkeypatch, before)


def fits(monkeypatch, blocks: int) -> None:
    def before(number, labels):
        if len(labels) > blocks:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    patch_loss(monkeypatch, before)


def same(first: dict, second: dict) -> bool:
    return all(torch.equal(first[name], second[name]) for name in first)


def test_an_interrupted_stage_goes_on_and_leaves_its_result_alone(stage, monkeypatch):
    with monkeypatch.context() as patch:
        end_after(patch, 3)
        with pytest.raises(SystemExit, match="after step 4 of 6"):
            stage.run()
    assert not (stage.folder / "trained").exists()
    assert (stage.folder / "trained.training/checkpoint-4").is_dir()
    outcome, state = stage.run()
    assert outcome["costs"]["resumed"] == [4]
    assert not (stage.folder / "trained.training").exists()
    assert same(state, stage.run("whole")[1])


def test_an_interruption_on_the_last_attempt_is_no_failure(stage, monkeypatch):
    end_after(monkeypatch, 3)
    with pytest.raises(SystemExit):
        stage.run(attempt=Attempt(3, 3))
    assert not (stage.folder / "trained").exists()


def test_changed_code_begins_anew(stage, monkeypatch):
    with monkeypatch.context() as patch:
        end_after(patch, 3)
        with pytest.raises(SystemExit):
            stage.run()
    stage.code.write_text("second")
    outcome, _ = stage.run()
    assert outcome["costs"]["resumed"] == []


def test_a_micro_batch_that_does_not_fit_is_halved_and_the_batch_stays(stage, monkeypatch, capsys):
    large, expected = stage.run("large")
    assert (large["costs"]["micro_batch"], large["costs"]["gradient_accumulation"]) == (4, 1)
    fits(monkeypatch, blocks=1)
    small, state = stage.run("small")
    assert (small["costs"]["micro_batch"], small["costs"]["gradient_accumulation"]) == (1, 4)
    assert small["costs"]["steps"] == large["costs"]["steps"]
    assert "CUDA out of memory: micro-batch 2 instead of 4" in capsys.readouterr().err
    for name, values in expected.items():
        torch.testing.assert_close(state[name], values, atol=1e-5, rtol=1e-4)


def test_a_training_goes_on_with_the_micro_batch_it_had(stage, monkeypatch):
    with monkeypatch.context() as patch:
        fits(patch, blocks=2)
        expected = stage.run("whole")[1]
        # Each training fails once with four blocks; then its sixth pass is in the third step.
        end_after(patch, 6)
        with pytest.raises(SystemExit, match="after step 3 of 6"):
            stage.run()
    outcome, state = stage.run()
    assert outcome["costs"]["micro_batch"] == 2
    assert same(state, expected)


def test_two_processes_share_a_training(stage):
    alone, expected = stage.run("alone")
    outcome, state = stage.run("shared", processes=2)
    assert outcome["error"] is None
    costs = outcome["costs"]
    assert (costs["processes"], costs["micro_batch"], costs["gradient_accumulation"]) == (2, 2, 1)
    for name in ("trainable_parameters", "tokens", "loss_tokens", "steps", "batch_order"):
        assert costs[name] == alone["costs"][name]
    torch.testing.assert_close(state, expected, atol=1e-5, rtol=1e-4)
    assert not (stage.folder / "shared.training").exists()


def test_a_node_with_too_few_gpus_is_named(stage, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    outcome, _ = stage.run(runtime={"device": "cuda", "dtype": "auto"}, processes=2)
    message = outcome["error"]["message"]
    assert message.startswith("runtime.processes = 2: ")
    assert message.endswith("has 1 GPUs that torch can use; allowed: at most as many")


def test_a_block_that_does_not_fit_is_a_failure(stage, monkeypatch):
    fits(monkeypatch, blocks=0)
    outcome, _ = stage.run()
    assert outcome["error"]["class"] == "OutOfMemoryError"
    assert outcome["error"]["log"] == "results/logs/repair.log"


def test_a_loss_that_is_no_number_is_a_failure_with_its_log(stage):
    outcome, _ = stage.run(learning_rate=1e30)
    error = outcome["error"]
    assert error["class"] == "FloatingPointError"
    assert error["message"].startswith("loss is nan at step")
    assert error["log"] == "results/logs/repair.log"


def test_a_full_disk_is_named(stage, monkeypatch):
    def full(*_):
        raise RuntimeError("PytorchStreamWriter failed writing file data/0: file write failed")

    monkeypatch.setattr(torch, "save", full)
    monkeypatch.setattr(
        shutil, "disk_usage", lambda path: SimpleNamespace(total=2**40, used=2**40, free=0)
    )
    outcome, _ = stage.run(minutes=0)
    assert outcome["error"]["class"] == "OSError"
    assert "No space left on device" in outcome["error"]["message"]
    assert str(stage.folder) in outcome["error"]["message"]


def test_a_node_without_the_gpu_that_is_asked_for_is_named(stage, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    outcome, _ = stage.run(runtime={"device": "cuda", "dtype": "auto"})
    assert "runtime.device = 'cuda'" in outcome["error"]["message"]
    assert "has no GPU that torch can use" in outcome["error"]["message"]


def test_the_job_of_the_scheduler_is_written_down(stage, monkeypatch):
    monkeypatch.setenv("SLURM_JOB_ID", "42")
    assert stage.run()[0]["costs"]["cluster_job"] == "42"
