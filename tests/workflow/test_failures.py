"""Failed cells, interrupted runs, bad input."""

import os
import signal
import subprocess

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
        "Collect results/cells.csv",
        "Compare the repairs item by item",
        "Evaluate tiny (magnitude s60), full, seed 0",
        "Make results/table1.csv",
        "Repair tiny (magnitude s60) with full, seed 0",
    ]


def test_a_run_killed_twice_goes_on_to_the_same_numbers(fetched, smoke):
    for moment in ("Repair tiny", "Evaluate tiny ("):
        run = subprocess.Popen(
            fetched.command(changes=PART),
            cwd=fetched.folder,
            env=fetched.environment,
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
        assert not (fetched.folder / "results/table1.csv").exists()
        unlocked = fetched.run("--unlock", changes=PART)
        assert unlocked.returncode == 0, unlocked.stdout

    again = fetched.run(changes=PART)
    assert again.returncode == 0, again.stdout
    found, undisturbed = (
        # Which repairs tie depends on all that there are.
        table.drop(columns="tie_group").set_index(["pruner", "repair"])
        for table in (fetched.numbers(), smoke.numbers())
    )
    assert len(found) == 4
    assert found.equals(undisturbed.loc[found.index])


def test_a_dense_model_outside_its_band_stops_the_run_before_pruning(fetched):
    answer = fetched.run(changes={**PART, "models": {"tiny": {"band": {"wiki": [1, 2]}}}})
    assert answer.returncode == 1
    said = [
        line for line in answer.stdout.splitlines() if line.startswith("models.tiny.band.wiki: ")
    ]
    assert said, answer.stdout
    assert "allowed: 1 to 2" in said[0]
    assert not list((fetched.folder / "results/checkpoints/tiny").glob("magnitude*"))


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
