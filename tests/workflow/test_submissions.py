"""Another group's records from its run to the page: checked, verified, collected, shown."""

import json
import shutil
import subprocess

import pytest
import yaml

from bench.files import read_json_lines, write_json, write_json_lines
from bench.records.submissions import Submission
from bench.tools.check import submission_problems

GRID = {"pruners": ["wanda"], "repairs": ["none", "static"], "seeds": [7, 8]}
RECORDS = 4


def git(folder, *arguments):
    who = ["-c", "user.name=A", "-c", "user.email=a@example.org"]
    subprocess.run(["git", *who, *arguments], cwd=folder, check=True, capture_output=True)


@pytest.fixture
def acme(fetched):
    """The project with a submission of a group that ran another method, with other seeds."""
    folder = fetched.folder
    (folder / ".gitignore").write_text("resources/\nresults/\n.snakemake/\nchanges.yaml\n")
    git(folder, "init", "--quiet")
    git(folder, "add", ".")
    git(folder, "commit", "--quiet", "--message", "As it was run")
    answer = fetched.run("results/table1.csv", changes={"grid": GRID})
    assert answer.returncode == 0, answer.stdout
    submission = folder / "submissions/acme"
    shutil.copytree(folder / "results/cells", submission / "results/cells")
    shutil.copy(folder / "config/smoke.yaml", submission / "smoke.yaml")
    (submission / "config.yaml").write_text(yaml.safe_dump({"grid": GRID}))
    about = {
        "authors": "A. Author (Acme)",
        "licence": "CC-BY-4.0",
        "code": {"repository": "https://example.org/acme/repair", "commit": "a" * 40},
        "configuration": ["smoke.yaml", "config.yaml"],
    }
    (submission / "submission.yaml").write_text(yaml.safe_dump(about))
    return fetched


def verified(project):
    """The verdicts of all trained cells, run again where they were run last, and what was said."""
    options = ["--cells", 9, "--draw", 1, "--directory", "again"]
    answer = project.module("bench", "verify", "submissions/acme", *options)
    assert answer.returncode == 0, answer.stdout
    found = Submission(project.folder / "submissions/acme").verification()
    return {rerun.cell.seed: rerun.verdict for rerun in found.cells}, answer.stdout


def lie(folder):
    """Halve the bits of each right answer, in the results item by item as in the record."""
    samples, path = folder / "samples.jsonl.gz", folder / "record.json"
    items, record = read_json_lines(samples), json.loads(path.read_text())
    for item in items:
        for right in item.get("right", []):
            item["log_likelihoods"][right] /= 2
    for entry in record["metrics"]:
        if entry["metric"] == "answer_bpb":
            entry["value"] /= 2
    write_json_lines(samples, items)
    write_json(path, record)


def test_a_submission_is_checked_run_again_collected_and_shown(acme):
    folder = acme.folder / "submissions/acme"
    said = acme.module("bench", "check", folder).stdout
    assert said == f"{folder}: {RECORDS} records, no problems, self-reported\n"

    # The same machine: the same bits.
    verdicts, said = verified(acme)
    assert verdicts == {7: "same", 8: "same"}
    assert f"2 of {RECORDS} cells" in said

    # The grid of here is another one, of the same data, models, evaluation and budget.
    ours = acme.run("results/table1.csv", changes={"grid": {**GRID, "repairs": ["none", "lora"]}})
    assert ours.returncode == 0, ours.stdout
    shutil.rmtree(acme.folder / "results/cells/tiny/wanda-s60/static")
    told = acme.module("bench", "report", "results", "page.html")
    assert told.returncode == 0, told.stdout
    assert f"acme: {RECORDS} records (verified on" in told.stdout
    table = acme.table()
    assert list(table["repair"]) == ["none", "none", "lora", "acme/static"]
    assert list(table["origin"]) == ["here", "here", "here", "acme"]
    page = (acme.folder / "page.html").read_text()
    assert "A. Author (Acme)" in page
    assert f"2 of {RECORDS} cells" in page

    # Scores that no training gives, in agreement with each other: no longer what was verified.
    lie(folder / "results/cells/tiny/wanda-s60/static/seed7")
    assert list(submission_problems(Submission(folder))) == []
    assert Submission(folder).state() == "self-reported"
    verdicts, said = verified(acme)
    assert verdicts == {7: "outside", 8: "same"}
    assert "answers_bpb" in said
    assert Submission(folder).state().startswith("differs in 1 of 2 cells")
