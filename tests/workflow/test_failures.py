"""Failed cells, interrupted runs, bad input."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

# A part of the smoke grid.
PART = {"grid": {"pruners": ["magnitude"], "repairs": ["none", "full", "lora"]}}


def test_a_failed_cell_is_a_row_and_is_retried_on_request(finished):
    # A learning rate at which masked fine-tuning leaves the range of numbers.
    broken = {**PART, "repair": {"full": {"learning_rate": 1e30}}}
    answer = finished.run(changes=broken)
    assert answer.returncode == 0, answer.stdout
    table = finished.table().set_index("repair")
    assert table.loc["full", "status"].startswith("failed: repair: FloatingPointError: loss is")
    assert (table.drop(index="full")["status"] == "ok").all()
    assert finished.planned(changes=broken) == []
    assert finished.planned("--config", "retry_failed=true", changes=broken) == [
        "Evaluate tiny (magnitude s60), full, seed 0",
        "Make results/table1.csv and the other tables",
        "Repair tiny (magnitude s60) with full, seed 0",
    ]


def kill_at(project, moment: str, *arguments: str, changes: dict) -> None:
    """Start a run, and kill it when a job begins whose message has ``moment`` in it."""
    run = subprocess.Popen(
        project.command(*arguments, changes=changes),
        cwd=project.folder,
        env=project.environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    for line in run.stdout:
        if line.startswith("Job ") and moment in line:
            os.killpg(run.pid, signal.SIGKILL)
            break
    run.communicate()
    assert run.returncode == -signal.SIGKILL


def test_a_run_killed_twice_goes_on_to_the_same_numbers(finished, smoke):
    # All but the dense model's record and the bases.
    shutil.rmtree(finished.folder / "results/cells/tiny/magnitude-s60")
    for trained in finished.folder.glob("results/checkpoints/tiny/magnitude-s60/*/seed0"):
        shutil.rmtree(trained)
    (finished.folder / "results/table1.csv").unlink()
    for moment in ("Repair tiny", "Evaluate tiny ("):
        kill_at(finished, moment, changes=PART)
        assert not (finished.folder / "results/table1.csv").exists()
        unlocked = finished.run("--unlock", changes=PART)
        assert unlocked.returncode == 0, unlocked.stdout

    again = finished.run(changes=PART)
    assert again.returncode == 0, again.stdout
    found, undisturbed = (
        # Which repairs tie depends on all that there are.
        table.drop(columns="tie_group").set_index(["pruner", "repair"])
        for table in (finished.numbers(), smoke.numbers())
    )
    assert len(found) == 4
    assert found.equals(undisturbed.loc[found.index])


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_damage_is_refused_in_one_line_and_mended_on_request(finished, smoke):
    """Nor does a run that another one's lock refuses remove anything."""
    cells = finished.folder / "results/cells/tiny"
    damaged = {
        cells / "dense/record.json": lambda path: os.truncate(path, 700),
        cells / "wanda-s60/lora/seed0/record.json": lambda path: os.truncate(path, 700),
        cells / "wanda-s60/seft/seed0/samples.jsonl.gz": lambda path: path.write_bytes(b""),
        cells / "wanda-s60/spp/seed0/samples.jsonl.gz": Path.unlink,
    }
    for path, damage in damaged.items():
        damage(path)
    collected = subprocess.run(
        [sys.executable, "-m", "bench", "collect", "results"],
        cwd=finished.folder,
        env=finished.environment,
        text=True,
        capture_output=True,
    )
    assert collected.returncode == 1
    (line,) = collected.stderr.splitlines()
    assert line.startswith("results/cells/tiny/dense/record.json: no JSON: ")
    assert line.endswith("; to run its cell again: snakemake ... --config retry_failed=true")

    answer = finished.run()
    assert answer.returncode == 1
    assert line in answer.stdout.splitlines()

    kill_at(finished, "Evaluate tiny, dense", "--config", "retry_failed=true", changes={})
    before = contents(finished.folder / "results")
    refused = finished.run("--config", "retry_failed=true")
    assert refused.returncode == 1
    assert "LockException" in refused.stdout
    assert contents(finished.folder / "results") == before
    assert finished.run("--unlock").returncode == 0

    mended = finished.run("--config", "retry_failed=true")
    assert mended.returncode == 0, mended.stdout
    assert finished.numbers().equals(smoke.numbers())
    assert finished.planned("--config", "retry_failed=true") == []


def test_a_dense_model_outside_its_band_stops_the_run_before_pruning(finished):
    bases = finished.folder / "results/checkpoints/tiny"
    shutil.rmtree(bases)
    answer = finished.run(changes={**PART, "models": {"tiny": {"band": {"wiki": [1, 2]}}}})
    assert answer.returncode == 1
    said = [
        line for line in answer.stdout.splitlines() if line.startswith("models.tiny.band.wiki: ")
    ]
    assert said, answer.stdout
    assert "allowed: 1 to 2" in said[0]
    assert not list(bases.glob("magnitude*"))


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        (
            {"training": {"stpes": 4}},
            "config: training.stpes = 4: unknown key; allowed keys: mixture, ",
        ),
        ({"grid": {"patterns": ["s120"]}}, "config: grid.patterns.0 = 's120': "),
        (
            {"models": {"tiny": {"source": {"source": "path", "path": "nowhere"}}}},
            "config: models.tiny",
        ),
        (
            {"models": {"..": {"source": {"source": "synthetic"}}}},
            "config: models = '..': allowed: ",
        ),
        ({"checkpoints": ""}, "config: checkpoints = '': allowed: "),
        ({"grid": {"patterns": [None]}}, "config: grid.patterns.0 = None: allowed: "),
    ],
)
def test_bad_input_is_one_line_before_any_job(project, changes, line):
    answer = project.run(changes=changes)
    assert answer.returncode == 1
    assert [said for said in answer.stdout.splitlines() if said.startswith("config: ")] == [
        said for said in answer.stdout.splitlines() if said.startswith(line)
    ]
    assert line in answer.stdout
    assert "rule " not in answer.stdout
    assert not (project.folder / "results").exists()


def test_a_key_given_twice_is_one_line_before_any_job(project):
    (project.folder / "twice.yaml").write_text("grid:\n  seeds: [0]\n  seeds: [1]\n")
    answer = project.run(files=["twice.yaml"])
    assert answer.returncode == 1
    (line,) = [said for said in answer.stdout.splitlines() if said.startswith("config: ")]
    assert line.endswith("twice.yaml: line 3: grid.seeds: given twice; allowed: each key once")
    assert "rule " not in answer.stdout


def test_more_items_than_there_are_is_one_line_where_they_are_read(project):
    changes = {**PART, "evaluation": {"tasks": {"science": {"limit": 500}}}}
    answer = project.run("resources/data/manifest.json", changes=changes)
    assert answer.returncode == 1
    line = "config: evaluation.tasks.science.limit = 500: allowed: at most 96, the items there are"
    assert line in answer.stdout.splitlines()
