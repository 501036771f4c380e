"""The leaderboard, the figures and Snakemake's own report of the smoke grid."""

import pytest

from bench.cells import Cell
from bench.figures import FORMATS, OF_MODEL, OF_PATTERN
from bench.records.history import read_histories

TARGETS = ("reports/index.html", "figures")


@pytest.fixture(scope="module")
def reported(smoke):
    answer = smoke.run(*TARGETS)
    assert answer.returncode == 0, answer.stdout
    return smoke


def test_the_page_is_one_file_with_all_sections(reported):
    page = (reported.folder / "reports/index.html").read_text()
    for section in ("claims", "leaderboard", "figures", "comparisons", "reproduction", "methods"):
        assert f'<section id="{section}">' in page
    assert "12 items (limited)" in page


def test_every_figure_is_there_in_every_format(reported):
    folder = reported.folder / "results/figures/tiny"
    stems = [folder / name for name in OF_MODEL] + [folder / "s60" / name for name in OF_PATTERN]
    for stem in stems:
        for kind in FORMATS:
            assert stem.with_suffix(f".{kind}").stat().st_size > 1000, stem


def test_histories_say_how_trainings_went_and_what_they_changed(reported):
    paths = (reported.folder / "results/cells").rglob("history.json.gz")
    histories = read_histories(paths)
    assert len(histories) == 18

    def of(repair):
        return histories[Cell("tiny", "wanda", "s60", repair, 0)]

    assert of("none")["training"] == []
    assert [entry["step"] for entry in of("full")["training"]] == list(range(1, 13))
    assert set(of("seft")["evolution"]["layer"]) == set(range(14))
    assert of("spp")["evolution"]["step"] == []
    for name, layer in of("full")["layers"].items():
        assert layer["change"] > 0, name
        assert layer["entered"] == 0, name
    assert all(layer["entered"] > 0.5 for layer in of("lora-dense")["layers"].values())
    moved = of("seft")["layers"].values()
    assert any(layer["entered"] > 0 for layer in moved)
    for layer in moved:
        assert layer["entered"] <= layer["left"] + 0.01


def test_building_it_again_does_nothing(reported):
    assert reported.planned(*TARGETS) == []


def test_snakemakes_own_report_is_built(reported):
    answer = reported.run(*TARGETS, "--report", "reports/snakemake.html")
    assert answer.returncode == 0, answer.stdout
    text = (reported.folder / "reports/snakemake.html").read_text()
    assert "recovery" in text
    assert "table1.csv" in text
