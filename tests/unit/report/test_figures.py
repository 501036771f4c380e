"""Figures: legible at any size of grid, and the same bytes for the same results."""

import itertools
import re
from dataclasses import replace

import matplotlib
import pandas as pd
import pytest
from made_up_results import made_up_results
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text

from baselines.repair import REPAIRS
from bench.figures import FORMATS, OF_MODEL, OF_PATTERN
from bench.figures.draw import draw, write
from bench.figures.pareto import front
from bench.figures.results import Results
from bench.figures.style import SETTINGS, looks, pattern_label, pattern_order
from bench.figures.training import losses

VARIANTS = [f"seft-{number}" for number in range(9)]
LARGE = {
    "patterns": ("s50", "s60", "s70", "s80", "2of4", "4of8"),
    "repairs": (*REPAIRS, "seft-random"),
    "seeds": (0,),
    "blocks": 32,
}
ALL = [*((name, ("tiny",)) for name in OF_MODEL), *((name, ("tiny", "s60")) for name in OF_PATTERN)]


@pytest.fixture(scope="module")
def default(tmp_path_factory) -> Results:
    return made_up_results(tmp_path_factory.mktemp("default") / "results").results


@pytest.fixture(scope="module")
def large(tmp_path_factory) -> Results:
    return made_up_results(tmp_path_factory.mktemp("large") / "results", **LARGE).results


@pytest.fixture(scope="module")
def narrow(tmp_path_factory) -> Results:
    """One panel wide, with more in its legend than fits into a line."""
    grid = {"pruners": ["wanda"], "repairs": tuple(REPAIRS), "seeds": (0,)}
    return made_up_results(tmp_path_factory.mktemp("narrow") / "results", **grid).results


def overlapping(figure) -> list[tuple[str, str]]:
    """Pairs of texts of a figure of which one covers the other, and texts cut by the edge."""
    drawn: list[Text] = []
    draw_text = Text.draw

    def watched(text, renderer):
        drawn.append(text)
        draw_text(text, renderer)

    # Only what is drawn counts: ticks outside the view are texts of the figure as well.
    with pytest.MonkeyPatch.context() as patch, matplotlib.rc_context(SETTINGS):
        FigureCanvasAgg(figure).draw()
        patch.setattr(Text, "draw", watched)
        figure.canvas.draw()
    texts = [
        (text.get_text(), text.get_window_extent())
        for text in drawn
        if text.get_visible() and text.get_text().strip()
    ]
    assert len(texts) > 5
    found = [
        (one, other)
        for (one, a), (other, b) in itertools.combinations(texts, 2)
        if a.x0 < b.x1 - 1 and b.x0 < a.x1 - 1 and a.y0 < b.y1 - 1 and b.y0 < a.y1 - 1
    ]
    page = figure.bbox.padded(1)
    found += [
        (text, "the edge")
        for text, box in texts
        if box.x0 < page.x0 or box.y0 < page.y0 or box.x1 > page.x1 or box.y1 > page.y1
    ]
    return found


@pytest.mark.parametrize(("name", "where"), ALL)
@pytest.mark.parametrize("grid", ["default", "large"])
def test_no_text_covers_another(request, grid, name, where):
    figure = draw(name, request.getfixturevalue(grid), *where)
    assert overlapping(figure) == []


@pytest.mark.parametrize(("name", "where"), [ALL[0], ("training", ("tiny", "s60"))])
def test_a_legend_is_no_wider_than_its_figure(narrow, name, where):
    assert overlapping(draw(name, narrow, *where)) == []


def test_the_test_of_covered_texts_finds_them(default):
    figure = draw("recovery", default, "tiny", "s60")
    assert overlapping(figure) == []
    figure.axes[0].set_title("a title far too long for the panel that it stands over, by a lot")
    assert overlapping(figure)


def test_equal_results_give_equal_bytes(default, tmp_path):
    for folder in ("a", "b"):
        write(tmp_path / folder / "training", "training", default, "tiny", "s60")
    for kind in FORMATS:
        one, other = ((tmp_path / f / f"training.{kind}").read_bytes() for f in ("a", "b"))
        assert one == other
        assert len(one) > 5000


def test_a_grid_with_nothing_in_it_has_no_figure_but_says_so(default, tmp_path):
    nothing = replace(default, scores=default.scores[:0], costs=default.costs[:0], histories={})
    failed = replace(
        default,
        scores=default.scores.assign(mean=float("nan"), recovery=float("nan")),
        costs=default.costs.assign(repair_cost_seconds=None, repair_peak_memory_mib=None),
        histories={},
    )
    for name, where in ALL:
        assert draw(name, nothing, *where) is None
        assert draw(name, failed, *where) is None
    write(tmp_path / "moved", "moved", nothing, "tiny", "s60")
    assert (tmp_path / "moved.pdf").read_bytes().startswith(b"%PDF")


@pytest.mark.parametrize("missing", ["none", "full", "seft"])
def test_a_grid_that_lacks_a_repair_of_one_pruner_is_drawn(default, missing):
    def without(frame: pd.DataFrame) -> pd.DataFrame:
        return frame[~((frame["pruner"] == "wanda") & (frame["repair"] == missing))]

    histories = {
        cell: history
        for cell, history in default.histories.items()
        if (cell.pruner, cell.repair) != ("wanda", missing)
    }
    partial = replace(
        default,
        scores=without(default.scores),
        costs=without(default.costs),
        histories=histories,
    )
    for name, where in ALL:
        assert draw(name, partial, *where) is not None


def test_every_repair_looks_like_no_other():
    styles = list(looks(VARIANTS).values())
    assert len(styles) == len(REPAIRS) + len(VARIANTS)
    assert len({(style["color"], style["linestyle"]) for style in styles}) == len(styles)
    assert len({style["marker"] for style in styles[:13]}) == len(styles[:13])
    registered = looks([])
    assert registered == {repair: looks(VARIANTS)[repair] for repair in registered}


def test_a_repair_has_its_colour_in_every_figure(default, tmp_path):
    colour = looks([])["seft"]["color"]
    for name, where in ALL[:4]:
        write(tmp_path / name, name, default, *where)
        svg = (tmp_path / f"{name}.svg").read_text()
        assert re.search(rf"(fill|stroke): {colour}", svg), name


def test_the_front_is_what_nothing_beats_in_both():
    points = pd.DataFrame(
        {"cost": [1, 2, 2, 3, 4], "mean": [10, 20, 15, 20, 30], "name": list("abcde")}
    )
    assert list(front(points, "cost")["name"]) == ["a", "b", "e"]


def test_repairs_that_share_a_training_share_its_curve(default):
    log = losses(default)
    assert set(log["training"]) == {"full", "lora", "spp", "seft"}
    assert len(log) == 3 * 4 * 2 * 48


def test_patterns_are_ordered_and_named():
    patterns = ["4of8", "s70", "2of4", "s50"]
    assert sorted(patterns, key=pattern_order) == ["s50", "s70", "2of4", "4of8"]
    assert [pattern_label(p) for p in ("s62.5", "2of4")] == ["62.5 %", "2:4"]
