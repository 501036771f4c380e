"""Records of other groups beside those of here: whose they are, what they are compared with."""

import json
import re
import sys

import pandas as pd
import pytest
import yaml
from dotted import change
from made_up import made_up_grid

from bench.cells import Cell, dense_cell
from bench.config.variants import changes
from bench.files import UnreadableError
from bench.records.record import read_records, records_below
from bench.records.submissions import Submission, joined, submissions_below
from bench.stages.collect import collect
from bench.stages.collect import main as collect_main
from bench.tools.check import main as check_main
from bench.tools.verify import drawn
from bench.tools.verify import main as verify_main

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


def submit(
    here, name="acme", repairs=("none", "static"), seeds=(3, 4, 5), budgets=("default",), **about
):
    folder = here / "submissions" / name
    grid = {"repairs": repairs, "seeds": seeds, "budgets": budgets, **GRID}
    made_up_grid(folder / "results", **grid)
    (folder / "config.yaml").write_text("grid:\n  seeds: [3, 4, 5]\n")
    (folder / "submission.yaml").write_text(yaml.safe_dump({**ABOUT, **about}))
    return Submission(folder)


def together(here):
    ours = read_records(records_below(here / "results"))
    return joined(ours, submissions_below(here / "submissions", beside=here / "results"))


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


def test_a_variant_that_was_sent_is_one_of_what_was_sent(here):
    submit(here, repairs=["none", "seft", "seft-random"], seeds=[0])
    records, _ = together(here)
    of, said = changes(records.values())["acme/seft-random"]
    assert of == "acme/seft"
    assert "init: random instead of gradient" in said


def test_what_others_send_changes_nothing_that_is_said_of_what_was_run_here(here):
    made_up_grid(here / "results", repairs=["none", "lora", "seft", "random-grow"], **GRID)
    ours = read_records(records_below(here / "results"))
    collect(ours, here / "results")
    names = ("claims.csv", "claims_detail.csv", "reproduction.csv")
    before = {name: (here / "results" / name).read_bytes() for name in names}
    pairs = pd.read_csv(here / "results/comparisons.csv")
    # A budget of its own, larger than any of here.
    submit(here, repairs=["none", "lora", "static"], seeds=[0, 1, 2], budgets=["default", "x4"])
    records, (sent,) = together(here)
    assert sent.apart == ""
    collect(records, here / "results")
    assert {name: (here / "results" / name).read_bytes() for name in names} == before
    again = pd.read_csv(here / "results/comparisons.csv")
    of_here = ~(again["repair_a"] + again["repair_b"]).str.contains("/")
    assert len(again) > len(pairs)
    pd.testing.assert_frame_equal(
        again[of_here & (again["budget"] == "default")].reset_index(drop=True), pairs
    )


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


def test_what_two_submissions_disagree_on_keeps_the_later_one_out(here):
    submit(here, "first", budgets=["x4"])
    changed(
        submit(here, "second", budgets=["x4"]), "config.resolved.training.steps", 768, "static@x4"
    )
    records, (first, second) = together(here)
    assert first.apart == ""
    assert "768, but 192 in " in second.apart
    assert {record["origin"] for record in records.values()} == {"here", "first"}


def test_an_unrepaired_base_that_two_groups_send_counts_once(here):
    sparse = {**GRID, "patterns": ["s50"]}
    for name in ("first", "second"):
        submit(here, name)
        made_up_grid(here / "submissions" / name / "results", repairs=["none"], **sparse)
    records, _ = together(here)
    cells = [Cell(**record["cell"]) for record in records.values()]
    assert cells.count(Cell("tiny", "wanda", "s50", "none", 0)) == 1
    assert len(cells) == len(set(cells))


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


def test_a_configuration_is_no_link_out_of_the_folder(here, tmp_path):
    submission = submit(here, configuration=["linked.yaml"])
    (tmp_path / "elsewhere.yaml").write_text("secret: 1\n")
    (submission.folder / "linked.yaml").symlink_to(tmp_path / "elsewhere.yaml")
    with pytest.raises(UnreadableError, match=r"configuration: no file .*linked\.yaml"):
        submission.configuration()


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--cells", "0"], "--cells 0: allowed: at least 1"),
        (["--draw", "-1"], "--draw -1: allowed: at least 0"),
        (["--at-commit"], f"code.commit = {'a' * 40}: not in this repository"),
    ],
)
def test_what_cannot_be_run_again_is_one_line(here, arguments, line, monkeypatch, capsys):
    folder = submit(here).folder
    monkeypatch.setattr(sys, "argv", ["verify", str(folder), *arguments])
    with pytest.raises(SystemExit) as stopped:
        verify_main()
    assert stopped.value.code == 1
    (said,) = capsys.readouterr().err.splitlines()
    assert said.startswith(line)
    assert not (folder / "verified.json").exists()


def test_cells_that_are_drawn_were_trained_and_one_seed_draws_the_same():
    cells = [dense_cell("tiny"), Cell("tiny", "wanda", "s60", "none", 0)]
    cells += [Cell("tiny", "wanda", "s60", "lora", seed) for seed in range(20)]
    first = drawn(cells, 3, draw=5)
    assert len(set(first)) == 3
    assert {cell.repair for cell in first} == {"lora"}
    assert drawn(cells[::-1], 3, draw=5) == first
    assert drawn(cells, 3, draw=6) != first
    assert drawn(cells[:2], 3, draw=5) == cells[1:2]


def test_a_folder_that_is_no_name_and_a_damaged_verification_are_one_line_each(
    here, monkeypatch, capsys
):
    named = submit(here, "ac me").folder
    damaged = submit(here).folder
    (damaged / "verified.json").write_text("{}")
    for folder, said in {named: "allowed: a name of letters", damaged: "verified.json"}.items():
        monkeypatch.setattr(sys, "argv", ["check", str(folder)])
        with pytest.raises(SystemExit) as stopped:
            check_main()
        assert stopped.value.code == 1
        line, *_ = capsys.readouterr().out.splitlines()
        assert said in line


@pytest.mark.parametrize("name", ["here", "published"])
def test_a_name_that_is_an_origin_of_ours_is_no_submissions(here, name):
    submit(here, name)
    with pytest.raises(UnreadableError, match=rf"{name}: allowed: another name than here, publish"):
        together(here)


def test_a_folder_that_does_not_say_whose_it_is_is_not_passed_over(here):
    submit(here)
    (here / "submissions/other").mkdir()
    with pytest.raises(UnreadableError, match=r"other/submission\.yaml: No such file"):
        together(here)


@pytest.mark.parametrize("is_absolute", [False, True])
def test_a_table_of_a_submission_alone_has_each_row_once(here, monkeypatch, is_absolute):
    monkeypatch.chdir(here)
    results = submit(here).results
    given = results if is_absolute else results.relative_to(here)
    monkeypatch.setattr(sys, "argv", ["collect", str(given)])
    collect_main()
    table = pd.read_csv(results / "table1.csv")
    assert list(table["repair"]) == ["none", "none", "static"]
    assert set(table["origin"]) == {"here"}


def test_the_command_says_what_became_of_each_submission(here, monkeypatch, capsys):
    submit(here, "first")
    changed(submit(here, "second"), "provenance.manifests.model", "f" * 64)
    arguments = [str(here / "results"), "--submissions", str(here / "submissions")]
    monkeypatch.setattr(sys, "argv", ["collect", *arguments])
    collect_main()
    said = capsys.readouterr().out
    assert re.search(r"^first: 5 records \(self-reported\)$", said, re.MULTILINE)
    assert re.search(r"^second: not in these tables: .*manifests\.model", said, re.MULTILINE)
