"""A grid on a real Slurm, disturbed in every way, ends as an undisturbed run on one machine."""

import json

from conftest import RECORDS, TRAINED
from safetensors.torch import load_file


def record(story, cell):
    return json.loads((story.project.folder / RECORDS / cell / "record.json").read_text())


def jobs(story) -> dict[str, str | None]:
    """Who made what: numbers of Slurm jobs by stage and cell."""
    none, full = (
        record(story, "magnitude-s60/none/seed0"),
        record(story, "magnitude-s60/full/seed0"),
    )
    return {
        "dense": record(story, "dense")["provenance"]["cluster_job"],
        "prune": full["stages"]["prune"]["cluster_job"],
        "repair": full["stages"]["repair"]["cluster_job"],
        "evaluate none": none["provenance"]["cluster_job"],
        "evaluate full": full["provenance"]["cluster_job"],
    }


def test_the_table_is_that_of_a_local_run(story, local):
    assert story.project.numbers().equals(local.numbers())


def test_every_computing_job_ran_in_a_slurm_job_of_its_own(story):
    numbers = list(jobs(story).values())
    assert len(set(numbers)) == len(numbers)
    assert all(story.finished[number] == "COMPLETED" for number in numbers)


def test_a_job_that_exceeded_its_memory_ran_again_with_more(story):
    first, *_, last = story.first["prune"]
    assert story.finished[first] != "COMPLETED"
    assert story.finished[last] == "COMPLETED"
    assert last == jobs(story)["prune"]


def test_a_cancelled_training_went_on_from_its_checkpoint_to_the_same_weights(story, local):
    assert story.finished[story.cancelled] != "COMPLETED"
    repair = record(story, "magnitude-s60/full/seed0")["stages"]["repair"]
    assert repair["cluster_job"] == story.resumed
    assert repair["resumed"] == [story.stopped]
    assert 0 < story.stopped < repair["steps"]
    ours = load_file(story.project.folder / TRAINED / "repair.safetensors")
    theirs = load_file(local.folder / TRAINED / "repair.safetensors")
    assert ours.keys() == theirs.keys()
    assert all((ours[name] == theirs[name]).all() for name in ours)


def test_what_a_job_made_while_the_controller_was_away_is_kept(story):
    assert story.finished[story.resumed] == "COMPLETED"
    assert story.first["repair"] == [story.cancelled, story.resumed]


def test_a_second_start_submits_what_is_missing_alone(story):
    assert set(story.second) == {"evaluate"}
    kept = [path for path in story.before if "evaluate" not in path.parts]
    assert all(path.stat().st_mtime_ns == story.before[path] for path in kept if path.exists())
