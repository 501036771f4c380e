"""Budgets: the same grid, trained for longer."""

import json
import math
from types import SimpleNamespace

import pandas as pd
import pytest
import yaml
from made_up import STEPS, made_up_grid
from snakemake.utils import update_config

from baselines.repair import REPAIRS
from bench.cells import Cell, budget_of, cell_of, dense_cell, record_path, suffix, training_folder
from bench.config.loading import load
from bench.files import UnreadableError
from bench.planning.plan import read_files
from bench.records.comparable import differences
from bench.records.record import packing, read_record, read_records, resolved_config
from bench.records.rows import budgets, by_base, by_row
from bench.stages.collect import collect
from bench.tools.check import find_problems

BUDGETS = ("default", "x4", "x16")
LADDER = {
    "x4": {"steps": 192},
    "x16": {"steps": 384, "batch_size": 4, "repair": {"lora": {"learning_rate": 1.0e-3}}},
}
SEFT_IN_MASK = {"of": "seft", "mask": "fixed"}


def config(**changes):
    values = read_files([])
    update_config(values, {"budgets": LADDER, **changes})
    return load(values)


def cell(repair, budget="default"):
    return Cell("smollm2-135m", "wanda", "s60", repair, 0, budget)


@pytest.mark.parametrize(
    ("made", "folder"),
    [
        (cell("seft"), "seft"),
        (cell("seft", "x4"), "seft@x4"),
        (cell("none"), "none"),
        # What is not trained is the same at each budget.
        (cell("none", "x4"), "none"),
    ],
)
def test_the_default_budget_has_no_longer_path(made, folder):
    where = f"smollm2-135m/wanda-s60/{folder}/seed0"
    assert record_path(made) == f"results/cells/{where}/record.json"
    assert training_folder("weights", made, made.repair) == f"weights/{where}"


def test_what_is_not_trained_has_one_cell_whatever_the_budget():
    assert cell("none", "x4") == cell("none")
    assert cell("none").budget == dense_cell("tiny").budget == "none"


@pytest.mark.parametrize("budget", BUDGETS)
def test_the_wildcards_of_a_job_name_its_cell(budget):
    names = {"model": "smollm2-135m", "pruner": "wanda", "pattern": "s60", "repair": "lora"}

    class Wildcards(SimpleNamespace):
        def get(self, key, default=None):
            return getattr(self, key, default)

    assert budget_of(suffix(budget)) == budget
    of_cell = Wildcards(**names, budget=suffix(budget), seed="0")
    of_trial = Wildcards(**names, budget=suffix(budget))
    assert cell_of(of_cell) == cell_of(of_trial) == cell("lora", budget)


def test_a_grid_has_each_trained_cell_at_each_budget_and_the_others_once():
    grid = {"budgets": BUDGETS, "repairs": ["none", "lora", "lora-dense"], "seeds": [0, 1]}
    cells = list(config(grid=grid | {"pruners": ["wanda"]}).cells())
    assert len(cells) == len(set(cells)) == 1 + 2 * 3 * 2
    assert {c.budget for c in cells if c.repair == "lora"} == set(BUDGETS)


def test_a_budget_is_laid_over_training():
    of = {budget: config().training_at(budget) for budget in BUDGETS}
    assert [of[budget].tokens for budget in BUDGETS] == [12_288, 49_152, 196_608]
    assert (of["x16"].steps, of["x16"].batch_size) == (384, 4)
    # All else, the text among it, is the same.
    kept = {"steps": 48, "batch_size": 2}
    assert all(of[b].model_copy(update=kept) == of["default"] for b in BUDGETS)


def test_a_learning_rate_between_two_budgets_is_interpolated_on_logarithmic_scales():
    resolved = resolved_config(config(), cell("lora", "x4"))["resolved"]
    # Four times the tokens is half of the way to sixteen times, on a logarithmic scale.
    assert resolved["repair"]["learning_rate"] == pytest.approx(math.sqrt(3e-3 * 1e-3), rel=1e-3)
    assert resolved["learning_rate_from"] == {"default": 3e-3, "x16": 1e-3}
    assert resolved["training"]["steps"] == 192


def test_rates_that_yaml_takes_for_texts_are_interpolated_too():
    written = yaml.safe_load("{learning_rate: 1e-3}")
    ladder = LADDER | {"x16": LADDER["x16"] | {"repair": {"lora": written}}}
    laid = config(budgets=ladder, variants={"mine": {"of": "lora", **written}})
    of = {repair: cell(repair, "x4") for repair in ("lora", "mine")}
    found = {r: resolved_config(laid, c)["resolved"]["repair"] for r, c in of.items()}
    assert found["lora"]["learning_rate"] == pytest.approx(math.sqrt(3e-3 * 1e-3), rel=1e-3)
    assert found["mine"]["learning_rate"] == 1e-3


@pytest.mark.parametrize("budget", ["default", "x16"])
def test_a_budget_with_a_rate_of_its_own_says_nothing_of_others(budget):
    resolved = resolved_config(config(), cell("lora", budget))["resolved"]
    assert resolved["repair"]["learning_rate"] == {"default": 3e-3, "x16": 1e-3}[budget]
    assert "learning_rate_from" not in resolved


def test_beyond_the_budgets_with_a_rate_it_is_the_nearest_ones():
    ladder = {**LADDER, "x64": {"steps": 3072}, "half": {"steps": 24}}
    for budget, nearest in {"x64": {"x16": 1e-3}, "half": {"default": 3e-3}}.items():
        resolved = resolved_config(config(budgets=ladder), cell("lora", budget))["resolved"]
        assert resolved["learning_rate_from"] == nearest
        assert [resolved["repair"]["learning_rate"]] == list(nearest.values())


def test_a_variant_has_its_methods_options_at_a_budget_but_for_its_own():
    ladder = {"x4": {"steps": 192, "repair": {"seft": {"learning_rate": 5e-4, "init": "random"}}}}
    variants = {
        "inside": SEFT_IN_MASK,
        "other-rate": {"of": "seft", "learning_rate": 2e-3},
        "own": {"of": "seft", "init": "gradient"},
    }
    ladder["x4"]["repair"]["own"] = {"learning_rate": 7e-4}
    of = config(variants=variants, budgets=ladder)
    found = {name: of.repair_options(name, "x4") for name in variants}
    assert (found["inside"]["learning_rate"], found["inside"]["init"]) == (5e-4, "random")
    assert found["inside"]["mask"] == "fixed"
    assert found["other-rate"]["learning_rate"] == 2e-3
    assert (found["own"]["learning_rate"], found["own"]["init"]) == (7e-4, "gradient")
    assert of.repair_options("other-rate")["learning_rate"] == 2e-3


def test_a_variants_own_rate_is_that_of_the_default_budget():
    ladder = {name: {**LADDER[name], "repair": {}} for name in LADDER}
    ladder["x16"]["repair"] = {"lora": {"learning_rate": 1e-4}, "mine": {"learning_rate": 5e-4}}
    variants = {
        "mine": {"of": "lora", "rank": 4, "learning_rate": 2e-3},
        "alone": {"of": "lora", "learning_rate": 2e-3},
    }
    of = config(budgets=ladder, variants=variants)
    rates = {
        name: [of.repair_options(name, b)["learning_rate"] for b in BUDGETS] for name in variants
    }
    assert rates["mine"] == pytest.approx([2e-3, 1e-3, 5e-4])
    assert of.rates_around("mine", "x4") == {"default": 2e-3, "x16": 5e-4}
    assert rates["alone"] == [2e-3] * 3
    assert of.repair_options("mine", "x4")["rank"] == 4


@pytest.mark.parametrize(
    ("steps", "window", "every"),
    [
        # About thirty evolutions, as the paper has with 60 steps from one to the next.
        (1800, 5, 60),
        (768, 2, 26),
        # Four windows from one to the next.
        (48, 2, 8),
        (384, 4, 16),
        # Four evolutions at the least.
        (12, 1, 3),
        (48, 4, 12),
        # The window fits.
        (12, 6, 6),
        (2, 1, 1),
    ],
)
@pytest.mark.parametrize("repair", ["seft", "spiel"])
def test_how_often_positions_evolve_follows_from_the_steps(repair, steps, window, every):
    options = REPAIRS[repair].Options(accumulate_steps=window)
    assert options.for_steps(steps).evolve_every == every
    assert options.for_steps(steps).config(seed=0).evolve_every == every
    given = REPAIRS[repair].Options(evolve_every=20, accumulate_steps=window)
    assert given.for_steps(steps) == given


def test_the_record_says_how_often_positions_evolved():
    found = [
        resolved_config(config(), cell("seft", budget))["resolved"]["repair"]["evolve_every"]
        for budget in BUDGETS
    ]
    assert found == [8, 8, 13]


def test_the_text_of_a_smaller_budget_is_packed_alike():
    small, large = (packing(config(), "train", budget) for budget in ("default", "x16"))
    assert (small.pop("blocks"), large.pop("blocks")) == (96, 1536)
    assert small == large
    validation = [packing(config(), "validation", budget) for budget in BUDGETS]
    assert validation[0] == validation[1] == validation[2]


def test_the_sweep_is_at_the_smallest_and_the_largest_budget():
    swept = {
        BUDGETS: ["default", "x16"],
        ("x16", "x4"): ["x4", "x16"],
        ("x4",): ["x4"],
    }
    for names, expected in swept.items():
        assert config(tuning={"budgets": names}).swept_budgets() == expected


def test_processes_share_the_batch_of_each_budget():
    with pytest.raises(ValueError, match=r"a divisor of budgets\.x4\.batch_size, which is 3$"):
        config(
            budgets={"x4": {"batch_size": 3}},
            grid={"budgets": ["default", "x4"]},
            runtime={"processes": 2},
        )


@pytest.fixture
def grid(tmp_path):
    repairs = ("none", "lora", "seft", "static")
    made_up_grid(
        tmp_path, pruners=["wanda"], patterns=["s60"], repairs=repairs, budgets=BUDGETS[::-1]
    )
    return tmp_path


def paths_of(grid):
    return sorted(grid.glob("cells/**/record.json"))


def changed(path, change):
    record = json.loads(path.read_text())
    change(record)
    path.write_text(json.dumps(record))
    return path


def test_a_record_from_before_there_were_budgets_is_of_the_default_one(grid):
    for name, budget in {"seft/seed0": "default", "none/seed0": "none"}.items():
        path = changed(grid / f"cells/tiny/wanda-s60/{name}/record.json", forget_budget)
        assert read_record(path)["cell"]["budget"] == budget
    assert list(find_problems(grid)) == []


def forget_budget(record):
    del record["cell"]["budget"]


@pytest.mark.parametrize(("repair", "budget"), [("none", "x4"), ("seft", "none")])
def test_a_budget_of_what_is_not_trained_is_refused(grid, repair, budget):
    def spoil(record):
        record["cell"]["budget"] = budget

    path = changed(grid / f"cells/tiny/wanda-s60/{repair}/seed0/record.json", spoil)
    with pytest.raises(UnreadableError, match=f"budget = '{budget}': allowed with {repair}"):
        read_record(path)
    assert any(f"allowed with {repair}" in line for line in find_problems(grid))


def test_rows_are_ordered_by_tokens_and_the_base_is_compared_at_each_budget(grid):
    records = list(read_records(paths_of(grid)).values())
    rows = by_row(records)
    assert budgets(records) == list(BUDGETS)
    trained = ["lora", "seft", "static"]
    assert [row[3:] for row in rows] == [
        ("none", "none"),
        ("none", "none"),
        *((budget, repair) for budget in BUDGETS for repair in trained),
    ]
    sparse = {base[3]: list(of) for base, of in by_base(rows).items() if base[1] == "wanda"}
    assert sparse == {budget: ["none", *trained] for budget in BUDGETS}


@pytest.mark.parametrize(
    ("key", "value", "differs"),
    [("steps", 100, True), ("length", 64, True), ("mixture", [{"data": "other"}], True)],
)
def test_what_records_of_one_budget_and_of_several_have_in_common(grid, key, value, differs):
    records = read_records(paths_of(grid))
    assert list(differences(records)) == []
    of_budget = [r for r in records.values() if r["cell"]["budget"] == "x4"]
    # All of a budget alike: its length is its own, its text is not.
    for record in of_budget:
        record["config"]["resolved"]["training"][key] = value
    assert bool(list(differences(records))) == (key != "steps")
    of_budget[0]["config"]["resolved"]["training"][key] = 7
    assert bool(list(differences(records))) == differs


def test_tokens_that_are_not_the_budgets_are_found(grid):
    def spoil(record):
        record["stages"]["repair"]["tokens"] = 12_288

    changed(grid / "cells/tiny/wanda-s60/seft@x4/seed0/record.json", spoil)
    (line,) = find_problems(grid)
    assert "stages.repair.tokens = 12288: allowed: 49152" in line


@pytest.fixture
def tables(grid):
    collect(read_records(paths_of(grid)), grid)
    return {path.stem: pd.read_csv(path) for path in grid.glob("*.csv")}


def test_the_unrepaired_base_stands_once_and_is_compared_at_each_budget(tables):
    for name in ("table1", "scores", "table4"):
        table = tables[name].drop_duplicates(["pruner", "budget", "repair"])
        assert len(table) == 2 + 3 * 3, name
        assert set(table.loc[table["repair"] == "none", "budget"]) == {"none"}
    scores = tables["scores"]
    tokens = scores.drop_duplicates("budget").set_index("budget")["tokens"].to_dict()
    assert tokens == {"none": 0, **{budget: 256 * STEPS[budget] for budget in BUDGETS}}
    assert scores.loc[scores["pruner"] == "wanda", "tie_group"].notna().all()
    pairs = tables["comparisons"]
    assert set(pairs["budget"]) == set(BUDGETS)
    of_average = pairs[pairs["task"] == "average"].groupby("budget")
    assert (of_average.size() == 6).all()
    assert (of_average["repair_a"].first() == "none").all()
    across = tables["table2"]
    assert list(across["budget"]) == ["none", *(b for b in BUDGETS for _ in range(3))]


def test_budgets_have_a_column_to_read_where_there_is_more_than_the_default(grid, tmp_path):
    collect(read_records(paths_of(grid)), grid)
    sheets = ("table1", "table2", "table4", "ablations")
    assert all("budget" in (grid / f"{name}.md").read_text() for name in sheets)
    one = [path for path in paths_of(grid) if "@" not in str(path)]
    collect(read_records(one), grid)
    assert all("budget" not in (grid / f"{name}.md").read_text() for name in sheets)


def test_claims_are_judged_at_the_largest_budget_of_which_as_much_was_run(tmp_path):
    repairs = ("none", "lora", "full", "spp", "seft", "static")
    made_up_grid(
        tmp_path, pruners=["magnitude", "wanda"], patterns=["s60"], repairs=repairs, budgets=BUDGETS
    )
    # Of the largest one base was run, with all repairs.
    paths = [p for p in paths_of(tmp_path) if "@x16" not in str(p) or "wanda" in str(p)]
    collect(read_records(paths), tmp_path)
    claims = pd.read_csv(tmp_path / "claims.csv").set_index("claim")
    # Whether bases are compared apart, or together as for costs; of some claims nothing was run.
    claims = claims[claims["verdict"] != "not tested"]
    assert len(claims) > 10
    assert (claims["budget"] == "x4").all()
    assert claims["other_budgets"].str.startswith("default: ").all()
    assert claims["other_budgets"].str.contains("; x16: ").all()


def test_claims_are_judged_at_the_largest_budget_and_the_smaller_are_shown(tables):
    claims = tables["claims"].set_index("claim")
    # A profile is of no budget.
    assert set(claims.index[claims["budget"] != "x16"]) == {"lighter-profiled"}
    assert claims.loc["lighter-profiled", "budget"] == "none"
    shown = claims.loc["evolution-matters-perplexity", "other_budgets"]
    assert shown.startswith("default: ")
    assert "; x4: " in shown
    detail = tables["claims_detail"]
    assert set(detail["budget"]) == {*BUDGETS, "none"}
    judged = detail[(detail["claim"] == "repairs-perplexity") & (detail["budget"] == "x16")]
    assert len(judged) == claims.loc["repairs-perplexity", "comparisons"]
