"""What runs when several things change at once: all that is due, at once, and nothing else."""

import re
from collections import Counter

import pytest
from snakemake.utils import update_config

RATE = {"repair": {"lora": {"learning_rate": 1e-3}}}
NO_SCIENCE = {"evaluation": {"tasks": {"science": None}}}
LIMIT = {"evaluation": {"tasks": {"science": {"limit": 5}}}}
MIXTURE = {"training": {"mixture": [{"data": "squad", "weight": 1}]}}
PART = {"grid": {"pruners": ["magnitude"], "repairs": ["none", "lora"]}}


def merged(*changes: dict) -> dict:
    """Changes laid over each other, as configuration files are."""
    result: dict = {}
    for change in changes:
        update_config(result, change)
    return result


def kinds(jobs: list[str]) -> Counter:
    """How many jobs begin with which word, but for those that make tables."""
    return Counter(job.split()[0] for job in jobs if not job.startswith("Make results"))


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        # Three bases, each with five trained rows of four trainings, and one unrepaired row.
        ([NO_SCIENCE], {"Evaluate": 19}),
        ([NO_SCIENCE, RATE], {"Evaluate": 19, "Repair": 3}),
        ([LIMIT, RATE], {"Evaluate": 19, "Repair": 3}),
        ([MIXTURE], {"Evaluate": 15, "Repair": 12, "Pack": 1}),
        ([MIXTURE, NO_SCIENCE], {"Evaluate": 19, "Repair": 12, "Pack": 1}),
        ([RATE, {"grid": {"seeds": [0, 1]}}], {"Evaluate": 6 + 15, "Repair": 3 + 12}),
    ],
    ids=["task removed", "and a rate", "limit and rate", "mixture", "and a task", "rate and seed"],
)
def test_all_that_is_due_and_nothing_else_is_planned(smoke, changes, expected):
    planned = [
        job for job in smoke.planned(changes=merged(*changes)) if not job.startswith("Check")
    ]
    assert kinds(planned) == expected


def ran(project, *changes: dict) -> list[str]:
    """The jobs that a run runs."""
    answer = project.run(changes=merged(PART, *changes))
    assert answer.returncode == 0, answer.stdout
    return re.findall(r"^Job \d+: (.*)$", answer.stdout, re.MULTILINE)


def test_one_run_does_all_and_a_second_one_nothing(finished):
    before = ran(finished)
    assert kinds(before) == {}
    removed = ran(finished, NO_SCIENCE, RATE)
    assert kinds(removed) == {"Check": 2, "Evaluate": 3, "Repair": 1}
    table = finished.table()
    assert "science" not in table
    assert kinds(ran(finished, NO_SCIENCE, RATE)) == {}
    # A task comes in, together with a seed.
    added = ran(finished, RATE, {"grid": {"seeds": [0, 1]}})
    assert kinds(added) == {"Check": 2, "Evaluate": 4, "Repair": 1}
    assert finished.table()["science"].notna().all()
    # The rate is the new one in all of it.
    losses = finished.table().set_index("repair")["wiki_perplexity"]
    assert losses["lora"] != table.set_index("repair")["wiki_perplexity"]["lora"]
