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
from bench.figures import FORMATS, OF_BUDGETS, OF_MODEL, OF_PATTERN, places
from bench.figures.draw import draw, write
from bench.figures.pareto import front
from bench.figures.results import Results
from bench.figures.style import SETTINGS, looks, pattern_label, pattern_order, swatch
from bench.figures.training import losses
from bench.records.measures import ACCURACY, KINDS
from bench.statistics.comparisons import less

VARIANTS = [f"seft-{number}" for number in range(9)]
BUDGETS = ("default", "x4")
LARGE = {
    "patterns": ("s50", "s60", "2of4", "4of8"),
    "repairs": (*REPAIRS, "seft-random"),
    "budgets": BUDGETS,
    "seeds": (0,),
    "blocks": 32,
}
ALL = [(name, ("tiny",)) for name in OF_MODEL]
ALL += [(name, ("tiny", "s60")) for name in (*OF_PATTERN, *OF_BUDGETS)]


@pytest.fixture(scope="module")
def default(tmp_path_factory) -> Results:
    grid = {"patterns": ["s50", "s60"], "budgets": BUDGETS}
    return made_up_results(tmp_path_factory.mktemp("default") / "results", **grid).results


@pytest.fixture(scope="module")
def large(tmp_path_factory) -> Results:
    return made_up_results(tmp_path_factory.mktemp("large") / "results", **LARGE).results


@pytest.fixture(scope="module")
def narrow(tmp_path_factory) -> Results:
    """One panel wide, with more in its legend than fits into a line."""
    grid = {"pruners": ["wanda"], "repairs": tuple(REPAIRS), "seeds": (0,)}
    return made_up_results(tmp_path_factory.mktemp("narrow") / "results", **grid).results


def drawn(name, results: Results, *where):
    """A figure of the smallest budget, or of all."""
    return draw(name, results if name in OF_BUDGETS else results.at("default"), *where)


def overlapping(figure) -> list[tuple[str, str]]:
    """Pairs of texts of a figure of which one covers the other, and texts cut by the edge."""
    texts: list[Text] = []
    draw_text = Text.draw

    def watched(text, renderer):
        texts.append(text)
        draw_text(text, renderer)

    # Only what is drawn counts: ticks outside the view are texts of the figure as well.
    with pytest.MonkeyPatch.context() as patch, matplotlib.rc_context(SETTINGS):
        FigureCanvasAgg(figure).draw()
        patch.setattr(Text, "draw", watched)
        figure.canvas.draw()
    boxes = [
        (text.get_text(), text.get_window_extent())
        for text in texts
        if text.get_visible() and text.get_text().strip()
    ]
    assert len(boxes) > 5
    found = [
        (one, other)
        for (one, a), (other, b) in itertools.combinations(boxes, 2)
        if a.x0 < b.x1 - 1 and b.x0 < a.x1 - 1 and a.y0 < b.y1 - 1 and b.y0 < a.y1 - 1
    ]
    page = figure.bbox.padded(1)
    found += [
        (text, "the edge")
        for text, box in boxes
        if box.x0 < page.x0 or box.y0 < page.y0 or box.x1 > page.x1 or box.y1 > page.y1
    ]
    return found


@pytest.mark.parametrize(("name", "where"), ALL)
@pytest.mark.parametrize("grid", ["default", "large"])
def test_no_text_covers_another(request, grid, name, where):
    figure = drawn(name, request.getfixturevalue(grid), *where)
    assert overlapping(figure) == []


@pytest.mark.parametrize("name", ["pareto", "training"])
def test_a_legend_is_no_wider_than_its_figure(narrow, name):
    assert overlapping(drawn(name, narrow, "tiny", "s60")) == []


@pytest.mark.parametrize(("name", "where"), [ALL[0], ALL[-1]])
def test_what_is_drawn_against_something_takes_two_of_it(narrow, name, where):
    assert drawn(name, narrow, *where) is None


def test_the_test_of_covered_texts_finds_them(default):
    figure = drawn("recovery", default, "tiny", "s60")
    assert overlapping(figure) == []
    figure.axes[0].set_title("a title far too long for the panel that it stands over, by a lot")
    assert overlapping(figure)


def test_equal_results_give_equal_bytes(default, tmp_path):
    for folder in ("a", "b"):
        write(tmp_path / folder / "training", "training", default.at("x4"), "tiny", "s60")
    for kind in FORMATS:
        one, other = ((tmp_path / f / f"training.{kind}").read_bytes() for f in ("a", "b"))
        assert one == other
        assert len(one) > 5000


def test_a_grid_with_nothing_in_it_has_no_figure_but_says_so(default, tmp_path):
    tables = {name: getattr(default, name)[:0] for name in ("scores", "costs", "comparisons")}
    nothing = replace(default, **tables, histories={})
    failed = replace(
        default,
        scores=default.scores.assign(mean=float("nan"), recovery=float("nan")),
        costs=default.costs.assign(repair_cost_seconds=None, repair_peak_memory_mib=None),
        comparisons=default.comparisons[:0],
        histories={},
    )
    for name, where in ALL:
        assert drawn(name, nothing, *where) is None
        assert drawn(name, failed, *where) is None
    write(tmp_path / "moved", "moved", nothing, "tiny", "s60")
    assert (tmp_path / "moved.pdf").read_bytes().startswith(b"%PDF")


@pytest.mark.parametrize("missing", ["none", "full", "seft"])
def test_a_grid_that_lacks_a_repair_of_one_pruner_is_drawn(default, missing):
    def without(frame: pd.DataFrame) -> pd.DataFrame:
        gone = frame.filter(like="repair").eq(missing).any(axis=1)
        return frame[~((frame["pruner"] == "wanda") & gone)]

    histories = {
        cell: history
        for cell, history in default.histories.items()
        if (cell.pruner, cell.repair) != ("wanda", missing)
    }
    partial = replace(
        default,
        scores=without(default.scores),
        costs=without(default.costs),
        comparisons=without(default.comparisons),
        histories=histories,
    )
    for name, where in ALL:
        assert drawn(name, partial, *where) is not None


def test_every_repair_looks_like_no_other():
    styles = list(looks(VARIANTS).values())
    assert len(styles) == len(REPAIRS) + len(VARIANTS)
    assert len({(style["color"], style["linestyle"]) for style in styles}) == len(styles)
    assert len(set(map(swatch, styles))) == len(styles)
    assert len({style["marker"] for style in styles[:13]}) == len(styles[:13])
    registered = looks([])
    assert registered == {repair: looks(VARIANTS)[repair] for repair in registered}


def test_a_repair_has_its_colour_in_every_figure(default, tmp_path):
    colour = looks([])["seft"]["color"]
    for name, where in ALL[:5]:
        write(tmp_path / name, name, default.at("default"), *where)
        svg = (tmp_path / f"{name}.svg").read_text()
        assert re.search(rf"(fill|stroke): {colour}", svg), name


def test_the_front_is_what_nothing_beats_in_both():
    points = pd.DataFrame(
        {"cost": [1, 2, 2, 3, 4], "mean": [10, 20, 15, 20, 30], "name": list("abcde")}
    )
    assert list(front(points, "cost", ACCURACY)["name"]) == ["a", "b", "e"]
    points["mean"] *= -1
    assert list(front(points, "cost", KINDS["perplexity"])["name"]) == ["a", "b", "e"]


def test_a_time_beside_other_work_is_hollow_and_not_on_the_front(default):
    results = default.at("default")
    costs, spent = results.costs, "repair_cost_seconds"
    fastest = costs.loc[costs["repair"] != "none", spent].min()
    for waited, hollow in ((5.0, 0), (5.1, 1)):
        percent = costs["repair_waited_percent"].mask(costs[spent] == fastest, waited)
        changed = replace(results, costs=costs.assign(repair_waited_percent=percent))
        *_, axis = drawn("pareto", changed, "tiny", "s60").axes
        points = [container.lines[0] for container in axis.containers]
        assert sum(point.get_markerfacecolor() == "white" for point in points) == hollow
        (front,) = [line for line in axis.lines if line.get_drawstyle() == "steps-post"]
        # What is fastest is on it, whatever it scores.
        assert (front.get_xdata()[0] == fastest) == (not hollow)


def test_what_is_not_ranked_is_drawn_and_not_on_the_front(default):
    """As what is not as sparse as was asked, in one seed or in all."""
    results = default.at("default")
    costs, spent = results.costs, "repair_cost_seconds"
    fastest = costs.loc[costs["repair"] != "none", spent].min()
    keys = ["pruner", "repair"]
    of_it = costs[costs[spent] == fastest].set_index(keys).index
    for unranked, stays in ((of_it[:0], True), (of_it, False)):
        mask = results.scores.set_index(keys).index.isin(unranked)
        groups = results.scores["tie_group"].mask(mask)
        changed = replace(results, scores=results.scores.assign(tie_group=groups))
        *_, axis = drawn("pareto", changed, "tiny", "s60").axes
        assert len(axis.containers) == len(results.repairs) - 1
        (front,) = [line for line in axis.lines if line.get_drawstyle() == "steps-post"]
        assert (front.get_xdata()[0] == fastest) == stays


def test_repairs_that_share_a_training_share_its_curve(default):
    log = losses(default.at("default").of("tiny", "s60"))
    assert set(log["training"]) == {"full", "lora", "spp", "seft"}
    assert len(log) == 3 * 4 * 2 * 48


def test_a_training_is_drawn_whose_own_repair_is_not_in_the_grid(default):
    results = default.at("default")
    without = {
        name: table[table["repair"] != "lora"]
        for name, table in (("scores", results.scores), ("costs", results.costs))
    }
    histories = {cell: h for cell, h in results.histories.items() if cell.repair != "lora"}
    figure = drawn("training", replace(results, histories=histories, **without), "tiny", "s60")
    (legend,) = figure.legends
    assert "lora" in [text.get_text() for text in legend.get_texts()]


def test_evolutions_are_drawn_at_their_steps(default):
    """A variant that evolves half as often is beside the other at the same steps."""
    results = default.at("default").of("tiny", "s60")
    often = {cell: h for cell, h in results.histories.items() if cell.repair == "seft"}
    seldom = {}
    for cell, history in often.items():
        layers = len(history["layers"])
        evolution = {
            "step": [16] * layers + [32] * layers,
            "layer": [*range(layers)] * 2,
            "reactivated": [0.5] * layers + [0.25] * layers,
            "overlap": [0.9] * layers + [0.8] * layers,
        }
        seldom[replace(cell, repair="seft-seldom")] = history | {"evolution": evolution}
    figure = drawn("topology", replace(results, histories=often | seldom), "tiny", "s60")
    figure.draw_without_rendering()
    below = next(axis for axis in figure.axes if axis.get_xlabel())
    assert [text.get_text() for text in below.get_xticklabels()] == ["8", "16", "24", "32", "40"]
    image = below.images[0].get_array()
    assert image[0].tolist() == pytest.approx([0.996, 0.992, 0.988, 0.984, 0.98])
    assert image[-1].tolist() == [None, 0.9, 0.9, 0.8, 0.8]


def test_patterns_are_ordered_and_named():
    patterns = ["4of8", "s70", "2of4", "s50"]
    assert sorted(patterns, key=pattern_order) == ["s50", "s70", "2of4", "4of8"]
    assert [pattern_label(p) for p in ("s62.5", "2of4")] == ["62.5 %", "2:4"]


def test_no_line_is_drawn_across_a_pattern_that_was_not_run(default):
    def of_four(table: pd.DataFrame) -> pd.DataFrame:
        others = table[table["pattern"].isin(["s50", "s60"])]
        others = others.replace({"pattern": {"s50": "s70", "s60": "s80"}})
        return pd.concat([table, others], ignore_index=True)

    results = default.at("default")
    scores, costs = of_four(results.scores), of_four(results.costs)
    ran = {(): [4], ("s60",): [2], ("s60", "s70"): [], ("s50",): [3]}
    for missing, lengths in ran.items():
        kept = scores[(scores["repair"] == "seft") & ~scores["pattern"].isin(missing)]
        figure = drawn("sparsity", replace(results, scores=kept, costs=costs), "tiny")
        lines = [line for line in figure.axes[0].lines if line.get_linestyle() != "None"]
        assert [len(line.get_xdata()) for line in lines if len(line.get_xdata())] == lengths
        points = [container.lines[0] for container in figure.axes[0].containers]
        alone = sum(len(point.get_xdata()) for point in points)
        assert sum(lengths) + alone == 4 - len(missing)


def test_differences_are_those_of_the_comparisons_and_filled_where_significant(default):
    results = default.at("default")
    figure = drawn("differences", results, "tiny", "s60")
    rows = less(results.of("tiny", "s60").comparisons, "lora")
    labels = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    # Neither the reference, nor what is not sparse, nor what is not repaired.
    assert labels == ["full", "spp", "seft"]
    for number, task in enumerate(("answers_bpb", "wiki_perplexity")):
        points = [container.lines[0] for container in figure.axes[3 * number + 1].containers]
        for line, repair in zip(points, labels, strict=True):
            keys = {"pruner": "wanda", "task": task, "repair": repair}
            (row,) = rows[(rows[list(keys)] == pd.Series(keys)).all(axis=1)].to_dict("records")
            assert line.get_xdata() == pytest.approx([row["difference"]])
            is_filled = line.get_markerfacecolor() != "white"
            assert is_filled == (row["verdict"] in ("better", "worse"))


def test_what_is_not_sparse_on_one_base_is_left_out_there_alone(default):
    results = default.at("default")
    dense = (results.scores["pruner"] == "wanda") & (results.scores["repair"] == "spp")
    scores = results.scores.assign(tie_group=results.scores["tie_group"].mask(dense))
    figure = drawn("differences", replace(results, scores=scores), "tiny", "s60")
    shown = [len(axis.containers) for axis in figure.axes[:3]]
    names = [axis.get_title() for axis in figure.axes[:3]]
    assert dict(zip(names, shown, strict=True)) == {"magnitude": 3, "wanda": 2, "sparsegpt": 3}


def test_costs_of_several_devices_are_not_drawn(default):
    results = default.at("default")
    several = (results.costs["pruner"] == "wanda") & (results.costs["repair"] == "spp")
    device = results.costs["device"].mask(several, "made up; another one")
    figure = drawn(
        "pareto", replace(results, costs=results.costs.assign(device=device)), "tiny", "s60"
    )
    whole = drawn("pareto", results, "tiny", "s60")
    points = [[len(axis.containers) for axis in one.axes[:3]] for one in (whole, figure)]
    assert points[0][1] == points[1][1] + 1
    assert points[0][::2] == points[1][::2]


def test_a_budget_is_drawn_at_its_tokens(default):
    figure = drawn("budget", default, "tiny", "s60")
    axis = figure.axes[1]
    assert axis.get_xscale() == "log"
    scores = default.scores
    seft = scores[(scores["repair"] == "seft") & (scores["pruner"] == "wanda")]
    seft = seft[(seft["pattern"] == "s60") & (seft["task"] == "answers_bpb")]
    drawn_lines = [
        list(line.get_xydata()[:, 1]) for line in axis.lines if len(line.get_xdata()) == 2
    ]
    assert list(seft.sort_values("tokens")["mean"]) in drawn_lines
    assert [label.get_text() for label in figure.axes[-1].get_xticklabels()] == ["12k", "49k"]


def test_no_line_is_drawn_across_a_budget_that_was_not_run(default):
    def of_three(table: pd.DataFrame) -> pd.DataFrame:
        more = table[table["budget"] == "x4"].replace({"budget": {"x4": "x16"}})
        return pd.concat([table, more], ignore_index=True)

    costs, scores = of_three(default.costs), of_three(default.scores)
    scores.loc[scores["budget"] == "x16", "tokens"] *= 4
    scores = scores[(scores["repair"] != "seft") | (scores["budget"] != "x4")]
    figure = drawn("budget", replace(default, scores=scores, costs=costs), "tiny", "s60")
    look = default.looks["seft"]
    (line,) = [one for one in figure.axes[0].lines if one.get_marker() == look["marker"]]
    assert list(line.get_xdata()) == [12288, 49152, 196608]
    assert list(pd.isna(line.get_ydata())) == [False, True, False]


def test_places_of_figures():
    found = places("m", ["s60"], ["default", "x4"])
    assert found["m@x4/s60/pareto"] == {
        "figure": "pareto",
        "model": "m",
        "budget": "x4",
        "pattern": "s60",
    }
    assert found["m/s60/budget"] == {"figure": "budget", "model": "m", "pattern": "s60"}
    assert len(found) == 2 * (len(OF_MODEL) + len(OF_PATTERN)) + len(OF_BUDGETS)
