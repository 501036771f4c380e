"""A grid run once through profiles/slurm, with everything happening to it that happens there."""

import os
import re
import shutil
import signal
import subprocess
from collections import defaultdict
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from one_machine import Slurm, wait_for
from project import Project, offline

GRID = {
    "grid": {"pruners": ["magnitude"], "repairs": ["none", "full"]},
    "training": {"mixture": [{"data": "squad"}], "length": 32, "batch_size": 1, "steps": 150},
    "runtime": {"retries": 2, "checkpoint_minutes": 0},
}
BASE = "results/checkpoints/tiny/magnitude-s60"
TRAINED = f"{BASE}/full/seed0"
RECORDS = "results/cells/tiny"


@pytest.fixture(scope="session")
def slurm(tmp_path_factory):
    slurm = Slurm(tmp_path_factory.mktemp("slurm"))
    slurm.start()
    yield slurm
    slurm.stop()


@pytest.fixture(scope="session")
def local(tmp_path_factory) -> Project:
    """The same grid, run on this machine without Slurm and without any disturbance."""
    project = offline(tmp_path_factory.mktemp("local") / "project")
    answer = project.run(changes=GRID)
    assert answer.returncode == 0, answer.stdout
    assert (project.table()["status"] == "ok").all(), answer.stdout
    return project


def on_slurm(folder: Path, slurm: Slurm, **changed_resources: dict) -> Project:
    """A project that runs through ``profiles/slurm``, some rules asking for something else."""
    project = offline(folder)
    project.forks = False
    project.environment |= slurm.environment
    path = project.folder / "profiles/slurm/config.yaml"
    profile = yaml.safe_load(path.read_text())
    profile["set-resources"] |= changed_resources
    path.write_text(yaml.safe_dump(profile))
    project.where = [
        "--workflow-profile",
        "profiles/slurm",
        # Without an accounting database, and without a wait for a busy one.
        "--slurm-status-command",
        "squeue",
        "--slurm-init-seconds-before-status-checks",
        "1",
        "--latency-wait",
        "5",
    ]
    return project


@pytest.fixture(scope="session")
def story(slurm, local, tmp_path_factory):
    """What happened, step by step, to a run that was disturbed in every way."""
    folder = tmp_path_factory.mktemp("cluster") / "project"
    project = on_slurm(
        folder,
        slurm,
        # Python alone takes more than it gets at first.
        prune={"gpu": 1, "mem_mb": "100 if attempt == 1 else 2500"},
        # The other form in which clusters want GPUs asked for.
        evaluate={"gres": "gpu:1"},
    )
    # Model, data and tokens are fetched and made on the submitting machine: as they were.
    shutil.copytree(local.folder / "resources", folder / "resources")
    output = (folder.parent / "first.log").open("w+")
    first = subprocess.Popen(
        project.command(changes=GRID),
        cwd=folder,
        env=project.environment,
        text=True,
        stdout=output,
        stderr=output,
        start_new_session=True,
    )
    try:
        # A job is cancelled in the middle of its training.
        training = folder / f"{TRAINED}.training"
        wait_for(lambda: steps(training))
        (cancelled,) = slurm.running("repair")
        slurm.ask("scancel", cancelled)
        wait_for(lambda: cancelled not in slurm.active())
        stopped = max(steps(training))
        # The controller stops; the training that has been taken up again ends without it.
        wait_for(lambda: max(steps(training)) > stopped)
        (resumed,) = slurm.running("repair")
        slurm.stop_controller()
        wait_for((folder / TRAINED / "stage.json").exists)
        slurm.start_controller()
        # Snakemake is killed while a job runs; what it leaves behind is cancelled.
        wait_for(lambda: slurm.running("evaluate", "tiny_magnitude_s60_full"))
        before = {path: path.stat().st_mtime_ns for path in folder.glob("results/**/*.json")}
        os.killpg(first.pid, signal.SIGKILL)
        slurm.ask("scancel", *slurm.active())
        wait_for(lambda: not slurm.active())
    finally:
        if first.poll() is None:
            os.killpg(first.pid, signal.SIGKILL)
        first.wait()
        output.seek(0)
        print(told := output.read())
    assert project.run("--unlock", changes=GRID).returncode == 0
    again = project.run(changes=GRID)
    assert again.returncode == 0, again.stdout
    return SimpleNamespace(
        project=project,
        cancelled=cancelled,
        stopped=stopped,
        resumed=resumed,
        before=before,
        first=submitted(told),
        second=submitted(again.stdout),
        finished=slurm.finished(),
    )


def steps(training: Path) -> list[int]:
    """The steps that there are checkpoints of."""
    return [int(path.name.removeprefix("checkpoint-")) for path in training.glob("checkpoint-*")]


def submitted(told: str) -> dict[str, list[str]]:
    """Numbers of the Slurm jobs that Snakemake says it has sent, by rule."""
    numbers = defaultdict(list)
    for number, rule in re.findall(r"with SLURM jobid (\d+) \(log: \S*/rule_(\w+)/", told):
        numbers[rule].append(number)
    return dict(numbers)
