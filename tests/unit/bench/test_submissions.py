"""Records of other groups beside those of here: whose they are, what they are compared with."""

import json
import re
import sys

import pandas as pd
import pytest
import yaml
from dotted import change
from made_up import made_up_grid

from bench.records.record import read_records
from bench.records.submissions import Submission, joined, submissions_below
from bench.stages.collect import collect, records_below
from bench.stages.collect import main as collect_main
from bench.tools.check import main as check_main

ABOUT = {
    "authors": "A. Author, B. Author (Acme)",
    "licence": "CC-BY-4.0",
    "code": {"repository": "https://example.org/acme/repair", "commit": "a" * 40},
}
GRID = {"models": ["tiny"], "pruners": ["wanda"], "patterns": ["s60"], "items": 40}


@pytest.fixture
def here(tmp_path):
    made_up_grid(tmp_path / "results", repairs=["none", "lora"], seeds=[0, 1, 2], **GRID)
    return tmp_path


def submit(here, name="acme", repairs=("none", "static"), seeds=(3, 4, 5), **about):
    folder = here / "submissions" / name
    made_up_grid(folder / "results", repairs=list(repairs), seeds=list(seeds), **GRID)
    (folder / "config.yaml").write_text("grid:\n  seeds: [3, 4, 5]\n")
    (folder / "submission.yaml").write_text(yaml.safe_dump({**ABOUT, **about}))
    return Submission(folder)


def together(here):
    ours = read_records(records_below(here / "results"))
    return joined(ours, submissions_below(here / "submissions"))


def changed(submission, path, value, repair="static"):
    """With a value of each record of a repair changed."""
    for file in submission.folder.glob(f"results/cells/tiny/wanda-s60/{repair}/*/record.json"):
        file.write_text(json.dumps(change(json.loads(file.read_text()), path, value)))


def test_a_submission_is_a_row_of_its_own_compared_on_the_same_items(here):
    submit(here)
    records, (sent,) = together(here)
    assert (sent.name, sent.records, sent.apart, sent.state) == ("acme", 5, "", "self-reported")
    collect(records, here / "results")
    table = pd.read_csv(here / "results/table1.csv")
    assert list(table["repair"]) == ["none", "none", "lora", "acme/static"]
    assert list(table["origin"]) == ["here", "here", "here", "acme"]
    pairs = pd.read_csv(here / "results/comparisons.csv")
    # Other seeds: the trainings have none in common, and the base goes with any.
    assert set(zip(pairs["repair_a"], pairs["repair_b"], strict=True)) == {
        ("none", "lora"),
        ("none", "acme/static"),
    }


def test_the_same_repair_of_two_groups_is_two_rows(here):
    submit(here, repairs=["none", "lora"], seeds=[0, 1, 2])
    records, _ = together(here)
    collect(records, here / "results")
    table = pd.read_csv(here / "results/table1.csv").set_index("repair")
    assert (table.loc["lora", "seeds"], table.loc["acme/lora", "seeds"]) == (3, 3)
    pairs = pd.read_csv(here / "results/comparisons.csv").set_index(["repair_a", "repair_b"])
    assert (pairs.loc[[("lora", "acme/lora")], "difference"] == 0).all()


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("config.resolved.evaluation.tasks.wiki.limit", 7),
        ("config.resolved.training.mixture", [{"data": "other", "weight": 1}]),
        ("provenance.manifests.model", "f" * 64),
        ("provenance.manifests.data", "f" * 64),
    ],
)
def test_what_is_not_comparable_is_not_in_the_tables(here, path, value):
    changed(submit(here), path, value)
    records, (sent,) = together(here)
    assert {record["origin"] for record in records.values()} == {"here"}
    assert path.rpartition(".")[2] in sent.apart


def test_a_submission_that_does_not_fit_keeps_no_other_one_out(here):
    changed(submit(here, "first"), "provenance.manifests.model", "f" * 64)
    submit(here, "second")
    records, (first, second) = together(here)
    assert first.apart
    assert not second.apart
    assert {record["origin"] for record in records.values()} == {"here", "second"}


def test_costs_of_another_device_are_not_compared(here):
    submission = submit(here, repairs=["none", "static"], seeds=[0, 1, 2])
    changed(submission, "provenance.cpu", "another one")
    records, _ = together(here)
    collect(records, here / "results")
    table = pd.read_csv(here / "results/table1.csv").set_index("repair")
    assert table.loc["acme/static", "device"].startswith("another one")
    assert table.loc["lora", "device"] != table.loc["acme/static", "device"]


@pytest.mark.parametrize(
    ("about", "line"),
    [
        ({"licence": None}, "licence"),
        ({"code": {"repository": "x", "commit": "main"}}, "commit"),
        ({"authors": ""}, "authors"),
        ({"extra": 1}, "extra"),
        ({"configuration": ["../../results/config.yaml"]}, "configuration"),
        ({"configuration": ["none.yaml"]}, "configuration"),
    ],
)
def test_what_a_submission_says_of_itself_is_checked(here, about, line, monkeypatch, capsys):
    submission = submit(here, **about)
    monkeypatch.setattr(sys, "argv", ["check", str(submission.folder)])
    with pytest.raises(SystemExit) as stopped:
        check_main()
    assert stopped.value.code == 1
    (said, *_) = capsys.readouterr().out.splitlines()
    assert "submission.yaml" in said
    assert line in said


def test_the_command_says_what_became_of_each_submission(here, monkeypatch, capsys):
    submit(here, "first")
    changed(submit(here, "second"), "provenance.manifests.model", "f" * 64)
    arguments = [str(here / "results"), "--submissions", str(here / "submissions")]
    monkeypatch.setattr(sys, "argv", ["collect", *arguments])
    collect_main()
    said = capsys.readouterr().out
    assert re.search(r"^first: 5 records \(self-reported\)$", said, re.MULTILINE)
    assert re.search(r"^second: not in these tables: .*manifests\.model", said, re.MULTILINE)
