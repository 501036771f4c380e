"""An interrupted training goes on where it was, and ends as if it had not been interrupted."""

import os
import shutil
import signal
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file
from transformers import TrainerCallback

from baselines.repair import REPAIRS
from baselines.repair.base import STATE_FILE, trainables
from bench.config.training import Training
from bench.data.tokens import Blocks
from bench.jobs.measure import StageClock
from bench.training.checkpoints import Checkpoints
from bench.training.train import train

TRAININGS = [name for name, repair in REPAIRS.items() if repair.training == name]
SETTINGS = Training(
    mixture=[{"data": "x"}], length=12, batch_size=2, gradient_accumulation=2, steps=8
)

every_training = pytest.mark.parametrize("name", TRAININGS)


class Ask(TrainerCallback):
    """Sends the process what a scheduler sends: after a step, or in the middle of one."""

    def __init__(self, step: int, inside: bool = False):
        self.step = step
        self.inside = inside

    def on_pre_optimizer_step(self, args, state, control, **kwargs):
        if self.inside and state.global_step == self.step - 1:
            os.kill(os.getpid(), signal.SIGTERM)

    def on_step_end(self, args, state, control, **kwargs):
        if not self.inside and state.global_step == self.step:
            os.kill(os.getpid(), signal.SIGTERM)


class Fail(TrainerCallback):
    """Ends the training without a warning, as a kill does."""

    def __init__(self, step: int):
        self.step = step

    def on_step_begin(self, args, state, control, **kwargs):
        if state.global_step == self.step:
            raise RuntimeError("killed")


@pytest.fixture
def run(tiny, tmp_path):
    """Trains a repair; returns what it trained, and the report."""
    return runner(tiny, tmp_path)


def runner(tiny, folder: Path):
    def go(name, dtype=torch.float32, *, interruption=None, minutes=60, keep=True):
        repair = tiny.build(name)
        if interruption is not None:
            callbacks = repair.callbacks()
            repair.callbacks = lambda: [*callbacks, interruption]
        model = repair.wrap(tiny.pruned_llama(dtype), seed=0)
        ids = tiny.tokens(rows=SETTINGS.blocks)
        checkpoints = Checkpoints(folder / "training", "digest", minutes, StageClock())
        report = train(
            model,
            repair,
            Blocks(ids, ids),
            SETTINGS,
            seed=0,
            dtype=dtype,
            checkpoints=checkpoints if keep else None,
            dense=tiny.dense_llama(dtype) if repair.needs_dense else None,
        )
        state = {n: t.detach().clone() for n, t in trainables(model).items()}
        return state, repair.merge(model, tiny.reprune).state_dict(), report

    return go


def taken(folder: Path, training: str = "training") -> list[str]:
    return sorted(path.name for path in (folder / training).glob("checkpoint-*"))


def assert_same(first, second) -> None:
    for tensors, others in zip(first[:2], second[:2], strict=True):
        assert tensors.keys() == others.keys()
        for name in tensors:
            assert torch.equal(tensors[name], others[name]), name
    assert first[2].log == second[2].log
    assert first[2].batch_order == second[2].batch_order


@pytest.mark.parametrize(
    ("dtype", "inside"),
    [(torch.float32, False), (torch.bfloat16, True)],
    ids=["float32 after a step", "bfloat16 inside a step"],
)
@every_training
def test_a_training_that_is_asked_to_end_goes_on_bit_identically(
    run, tmp_path, name, dtype, inside
):
    with pytest.raises(SystemExit, match="stopped after step 3 of"):
        run(name, dtype, interruption=Ask(3, inside))
    assert taken(tmp_path) == ["checkpoint-3"]
    with pytest.raises(SystemExit, match="stopped after step 6 of"):
        run(name, dtype, interruption=Ask(6, inside))
    resumed = run(name, dtype)
    assert resumed[2].resumed == [3, 6]
    assert_same(resumed, run(name, dtype, keep=False))


@pytest.mark.parametrize("step", [8, 11], ids=["between rounds", "in the second round"])
def test_a_training_of_several_rounds_goes_on_bit_identically(run, step):
    with pytest.raises(SystemExit, match=f"stopped after step {step} of 16"):
        run("reconstruct", interruption=Ask(step))
    resumed = run("reconstruct")
    assert resumed[2].resumed == [step]
    assert_same(resumed, run("reconstruct", keep=False))


@every_training
def test_a_training_that_is_killed_goes_on_from_its_last_checkpoint(run, tmp_path, name):
    with pytest.raises(RuntimeError, match="killed"):
        run(name, interruption=Fail(5), minutes=0)
    assert taken(tmp_path) == ["checkpoint-4", "checkpoint-5"]
    resumed = run(name)
    assert resumed[2].resumed == [5]
    assert_same(resumed, run(name, keep=False))


@every_training
def test_a_checkpoint_holds_what_is_trained_and_no_frozen_weight(run, tmp_path, name):
    with pytest.raises(SystemExit):
        run(name, interruption=Ask(1))
    saved = load_file(tmp_path / "training/checkpoint-1" / STATE_FILE)
    assert saved
    assert not [name for name in saved if "embed_tokens" in name or name.endswith("base.weight")]


def test_being_asked_at_the_last_step_changes_nothing(run):
    assert_same(run("full", interruption=Ask(8)), run("full", keep=False))


def test_sigterm_means_what_it_did_when_the_training_is_over(run):
    before = signal.getsignal(signal.SIGTERM)
    run("full")
    assert signal.getsignal(signal.SIGTERM) is before


def test_what_a_kill_left_half_written_is_removed(run, tmp_path):
    with pytest.raises(SystemExit):
        run("full", interruption=Ask(2))
    half = tmp_path / "training/tmpabc/checkpoint-7"
    half.mkdir(parents=True)
    assert run("full")[2].resumed == [2]
    assert not half.parent.exists()


@pytest.fixture(scope="module", params=["lora", "seft"])
def killed(request, tiny, tmp_path_factory):
    """A training that was killed and left two checkpoints; and one that was not interrupted."""
    folder = tmp_path_factory.mktemp(request.param)
    with pytest.raises(RuntimeError, match="killed"):
        runner(tiny, folder)(request.param, interruption=Fail(5), minutes=0)
    assert taken(folder) == ["checkpoint-4", "checkpoint-5"]
    whole = runner(tiny, folder)(request.param, keep=False)
    return SimpleNamespace(name=request.param, folder=folder / "training", whole=whole)


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


DAMAGES = {
    "removed": Path.unlink,
    "emptied": lambda path: path.write_bytes(b""),
    "cut": lambda path: os.truncate(path, path.stat().st_size // 2),
    "zeros": lambda path: path.write_bytes(bytes(path.stat().st_size)),
    "a bit": flip_a_bit,
}


def reopened(killed, folder: Path, damage, files: str) -> Path:
    """A copy of what the killed training left, damaged, as the next job takes it."""
    shutil.copytree(killed.folder, folder)
    for path in list(folder.glob(files)):
        damage(path)
    return Checkpoints(folder, "digest", 60, StageClock()).last


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_checkpoint_is_dropped_and_the_one_before_is_taken(
    killed, tmp_path, capsys, damage
):
    # What is hidden are times at which files were read.
    files = sorted(path.name for path in (killed.folder / "checkpoint-5").glob("[!.]*"))
    assert {"optimizer.pt", "rng_state.pth", "scheduler.pt", STATE_FILE} < set(files)
    for file in files:
        folder = tmp_path / file
        assert reopened(killed, folder, damage, f"checkpoint-5/{file}") == folder / "checkpoint-4"
        said = f"{folder}/checkpoint-5: damaged, or of another training: dropped\n"
        assert capsys.readouterr().err == said
        assert taken(folder.parent, file) == ["checkpoint-4"]


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_without_a_whole_checkpoint_a_training_starts_anew(killed, tmp_path, damage):
    assert reopened(killed, tmp_path / "training", damage, "*/optimizer.pt") is None


@pytest.mark.parametrize(
    ("files", "resumed"), [("checkpoint-5/optimizer.pt", [4]), ("*/optimizer.pt", [])]
)
def test_a_training_of_damaged_checkpoints_ends_as_if_it_had_not_been_interrupted(
    killed, run, tmp_path, files, resumed
):
    reopened(killed, tmp_path / "training", Path.unlink, files)
    again = run(killed.name)
    assert again[2].resumed == resumed
    assert_same(again, killed.whole)


def test_another_training_does_not_go_on_from_it(run, tmp_path):
    with pytest.raises(SystemExit):
        run("full", interruption=Ask(2))
    checkpoints = Checkpoints(tmp_path / "training", "another digest", 60, StageClock())
    assert checkpoints.last is None
    assert taken(tmp_path) == []


def test_the_cost_of_both_parts_is_counted():
    clock = StageClock()
    earlier = {"seconds": 5.0, "waited_seconds": 1.0}
    clock.go_on_from(earlier | {"peak_rss_bytes": 10**15, "peak_device_bytes": None})
    with clock.computing():
        inside = clock.computed()
    costs = clock.costs()
    assert 5.0 < inside["seconds"] < costs["seconds"]
    assert costs["peak_rss_bytes"] == 10**15
    assert costs["loading_seconds"] >= 0
