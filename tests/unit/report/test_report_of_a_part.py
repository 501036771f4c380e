"""The page of a grid that is half done."""

import sys

import pandas as pd
import pytest
from made_up_results import made_up_results

from bench.figures import FORMATS, OF_MODEL, OF_PATTERN
from bench.tools import report as command


@pytest.fixture
def results(tmp_path):
    """Records of a part of a grid, as a run leaves them that was stopped: no tables, no figures."""
    folder = tmp_path / "results"
    made_up_results(folder, pruners=["wanda"], repairs=["none", "lora", "seft"])
    for path in (folder / "cells/tiny/wanda-s60/seft/seed1").iterdir():
        path.unlink()
    for table in folder.glob("*.csv"):
        table.unlink()
    return folder


def test_tables_figures_and_page_are_made(results, monkeypatch, capsys):
    page = results.parent / "reports/index.html"
    monkeypatch.setattr(sys, "argv", ["bench.report", str(results), str(page)])
    command.main()
    table = pd.read_csv(results / "table1.csv").set_index("repair")
    assert table.loc["lora", "seeds"] == 2
    assert table.loc["seft", "seeds"] == 1
    stems = [f"tiny/{name}" for name in OF_MODEL] + [f"tiny/s60/{name}" for name in OF_PATTERN]
    for stem in stems:
        for kind in FORMATS:
            assert (results / f"figures/{stem}.{kind}").exists(), stem
    text = page.read_text(encoding="utf-8")
    for section in ("claims", "leaderboard", "figures", "comparisons", "reproduction", "methods"):
        assert f'<section id="{section}">' in text
    assert str(page) in capsys.readouterr().out


def test_cells_outside_the_configuration_are_not_shown_and_missing_ones_are_counted(
    results, monkeypatch, capsys
):
    page, grid = results.parent / "index.html", results.parent / "grid.yaml"
    grid.write_text(
        "grid: {models: [tiny], pruners: [wanda], repairs: [none, seft], seeds: [0, 1]}\n"
        "models: {tiny: {source: {source: synthetic}}}\n"
    )
    arguments = ["report", str(results), str(page), "--configfile", str(grid)]
    monkeypatch.setattr(sys, "argv", arguments)
    command.main()
    assert list(pd.read_csv(results / "table1.csv")["repair"]) == ["none", "none", "seft"]
    assert "\n1 of 4 cells of the configuration are not there yet\n" in capsys.readouterr().out


def test_records_of_other_settings_are_counted(results, monkeypatch, capsys):
    grid = results.parent / "grid.yaml"
    grid.write_text(
        "grid: {models: [tiny], pruners: [wanda], repairs: [none], seeds: [0]}\n"
        "models: {tiny: {source: {source: synthetic}}}\n"
        "training: {steps: 7}\n"
    )
    page = str(results.parent / "index.html")
    arguments = ["report", str(results), page, "--configfile", str(grid)]
    monkeypatch.setattr(sys, "argv", arguments)
    command.main()
    said = capsys.readouterr().out
    # What is made up is of no configuration.
    assert "\n2 of 2 records were made with other settings than the configuration has now, " in said


def test_a_folder_without_records_is_one_line(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["bench.report", str(tmp_path), str(tmp_path / "page.html")])
    with pytest.raises(SystemExit) as exit_:
        command.main()
    assert exit_.value.code == 1
    assert capsys.readouterr().err == (
        f"{tmp_path}: no records; allowed: a folder with cells/.../record.json\n"
    )
    assert list(tmp_path.iterdir()) == []
