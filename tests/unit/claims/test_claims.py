"""Claims: their file, their verdicts, and what would settle them."""

import json
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from made_up import STRENGTH, made_up_grid
from scipy import stats
from statistics_oracles import crossed, make_items

from bench.cells import Cell
from bench.claims.comparisons import Comparison, Grid
from bench.claims.evidence import Difference, Needed, Ratio, all_of, fewest
from bench.claims.spec import CLAIMS_FILE, Claim, load_claims
from bench.claims.verdicts import Judged, Verdict, claims_tables, judge, needed
from bench.files import read_json, write_json
from bench.records.record import read_records
from bench.statistics.bootstrap import resample, spread
from bench.statistics.items import read_items

CLAIM = {
    "claim": "better",
    "title": "Better",
    "statement": "SEFT is better than LoRA.",
    "cells": {"repair": "seft"},
    "against": ["lora"],
    "metric": "average",
    "direction": "above",
    "threshold": 0,
}


def write(folder, *entries):
    path = folder / "claims.yaml"
    path.write_text(yaml.safe_dump(list(entries)))
    return path


def grid_of(paths):
    records = read_records(paths)
    return Grid(list(records.values()), read_items(records))


def verdicts(paths, *entries):
    grid = grid_of(paths)
    claims = [Claim.model_validate({**CLAIM, **entry}) for entry in entries]
    summary, detail = claims_tables(claims, grid)
    return summary.iloc[0], detail


def made_up(folder, *, seeds=(0, 1, 2), repairs=("none", "lora", "seft"), **options):
    defaults = {"pruners": ["wanda"], "patterns": ["s60"], "items": 200}
    return made_up_grid(folder, seeds=seeds, repairs=repairs, **{**defaults, **options})


def test_the_shipped_claims_are_the_papers():
    claims = {claim.claim: claim for claim in load_claims(CLAIMS_FILE)}
    assert {
        "repairs",
        "beats-baselines",
        "refutation-test",
        "evolution-matters",
        "sparsity-kept",
        "stable",
        "faster",
        "lighter",
        "general",
    } <= set(claims)
    assert set(claims["beats-baselines"].against) == {"lora", "spp", "full"}
    # In the answers' likelihood, too: there are not items enough for accuracy.
    answers = {name for name, claim in claims.items() if claim.metric == "answers"}
    for name in ("repairs", "beats-baselines", "refutation-test", "evolution-matters", "general"):
        assert f"{name}-answers" in answers
        assert claims[f"{name}-answers"].against == claims[name].against
    assert claims["refutation-test"].cells.pattern == ["s80"]


BAD = [
    ({"metric": "acuracy"}, ["metric = 'acuracy'", "average"]),
    ({"direction": "up"}, ["direction = 'up'", "above"]),
    ({"threshhold": 1}, ["threshhold = 1", "unknown key", "threshold"]),
    (
        {"cells": {"repair": "seft", "sparsity": 1}},
        ["cells.sparsity = 1", "unknown key", "pattern"],
    ),
    ({"cells": {}}, ["cells.repair: missing"]),
    ({"threshold": "much"}, ["threshold = 'much'", "number"]),
    ({"negligible": -1}, ["negligible = -1", "greater than or equal to 0"]),
    ({"claim": "A claim"}, ["claim = 'A claim'", "a-z"]),
    ({"cells": {"repair": "sfet"}}, ["cells.repair = 'sfet'", "seft"]),
    ({"against": ["lroa"]}, ["against.0 = 'lroa'", "lora"]),
    ({"against": []}, ["against = []", "at least one repair"]),
    ({"against": ["seft"]}, ["against = ['seft']", "other repairs"]),
    ({"metric": "diverged"}, ["against = ['lora']", "diverged", "none"]),
    ({"metric": "repair_cost_seconds"}, ["threshold = 0", "above 0"]),
    (
        {"metric": "repair_cost_seconds", "threshold": 1, "negligible": 1},
        ["negligible = 1", "below its threshold"],
    ),
    ({"at_least": {"seed": 1}}, ["at_least = 'seed'", "model"]),
    ({"cells": {"repair": "seft", "pattern": ["s600"]}}, ["cells.pattern", "s600", "0 < percent"]),
    ({"cells": {"repair": "seft", "pruner": ["wnada"]}}, ["cells.pruner", "wnada", "sparsegpt"]),
]


@pytest.mark.parametrize(("change", "said"), BAD, ids=[str(change) for change, _ in BAD])
def test_a_bad_claim_is_one_line_with_key_value_and_what_is_allowed(tmp_path, change, said):
    path = write(tmp_path, {**CLAIM, **change})
    with pytest.raises(ValueError, match=r"claims\.yaml: claim ") as error:
        load_claims(path)
    (line,) = str(error.value).splitlines()
    assert line.startswith(f"{path}: claim ")
    for part in said:
        assert part in line


def test_files_that_are_no_claims_are_one_line(tmp_path):
    for text in ("", "a: [", "claim: x", "[1]"):
        (tmp_path / "claims.yaml").write_text(text)
        with pytest.raises(ValueError, match=r"claims\.yaml: ") as error:
            load_claims(tmp_path / "claims.yaml")
        assert len(str(error.value).splitlines()) == 1
    with pytest.raises(ValueError, match="each name once"):
        load_claims(write(tmp_path, CLAIM, CLAIM))
    with pytest.raises(ValueError, match="No such file"):
        load_claims(tmp_path / "none.yaml")


def test_a_large_gain_is_supported_and_a_loss_refutes(tmp_path):
    paths = made_up(tmp_path, strength={**STRENGTH, "seft": 0.9, "lora": 0.2})
    summary, detail = verdicts(paths, {})
    assert summary["verdict"] == "supported"
    assert detail["verdict"].tolist() == ["supported"]
    assert 0 < summary["ci_low"] < summary["estimate"] < summary["ci_high"]
    summary, _ = verdicts(paths, {"cells": {"repair": "lora"}, "against": ["seft"]})
    assert summary["verdict"] == "refuted"
    assert "wanda s60" in summary["detail"]
    assert "against seft" in summary["detail"]


def test_a_claim_that_is_refuted_is_settled_whatever_is_open(tmp_path):
    strength = {**STRENGTH, "seft": 0.3, "lora": 0.9, "static": 0.35}
    paths = made_up(tmp_path, repairs=("none", "lora", "static", "seft"), strength=strength)
    summary, detail = verdicts(paths, {"against": ["lora", "static"]})
    assert detail["verdict"].tolist() == ["refuted", "inconclusive"]
    assert detail["to_settle"].astype(bool).tolist() == [False, True]
    assert summary["verdict"] == "refuted"
    assert summary["detail"] == "refuted against lora: wanda s60"
    assert not summary["to_settle"]
    assert pd.isna([summary["needed_seeds"], summary["needed_items"]]).all()


@pytest.mark.parametrize(
    ("metric", "task"), [("perplexity", "wiki_perplexity"), ("answers", "answers_bpb")]
)
def test_a_score_of_which_less_is_better_is_below(tmp_path, metric, task):
    paths = made_up(tmp_path, strength={**STRENGTH, "seft": 0.9, "lora": 0.2})
    summary, detail = verdicts(paths, {"metric": metric, "direction": "below"})
    assert summary["verdict"] == "supported"
    assert summary["estimate"] < 0
    assert detail["task"].tolist() == [task]
    summary, _ = verdicts(paths, {"metric": metric})
    assert summary["verdict"] == "refuted"


def test_a_small_gain_is_inconclusive_and_says_what_would_settle_it(tmp_path):
    paths = made_up(tmp_path, items=40, strength={**STRENGTH, "seft": 0.55, "lora": 0.45})
    summary, detail = verdicts(paths, {})
    assert summary["verdict"] == "inconclusive"
    row = detail.iloc[0]
    assert row["ci_low"] < 0 < row["ci_high"]
    assert pd.notna(row["needed_seeds"]) or pd.notna(row["needed_items"])
    assert "more)" in row["to_settle"]


def test_what_is_needed_would_indeed_settle_it():
    totals = crossed(np.random.default_rng(5), 3, 60, of_seeds=0.05, of_items=4, mean=1.2)
    evidence = Difference(resample(make_items(totals)))
    assert evidence.interval()[0] < 0 < evidence.interval()[1]
    needed = evidence.needed(0).items
    assert 60 < needed < 300
    for copies in (2, 3, 4, 5):
        # As many times the items, with the same spread around the same estimate.
        low, high = spread(resample(make_items(np.tile(totals, copies)))).interval()
        assert (low < 0 < high) == (60 * copies < needed)
    assert evidence.needed(evidence.estimate) == Needed()


@pytest.mark.parametrize(
    ("limits", "more"),
    [
        ({}, True),
        ({"science": None}, False),
        ({"science": 41}, False),
        ({"winogrande": None}, False),
        ({"wiki": None}, True),
    ],
)
def test_items_that_no_task_has_are_not_asked_for(limits, more, tmp_path):
    paths = made_up(tmp_path, items=40, strength={**STRENGTH, "seft": 0.55, "lora": 0.45})
    records = read_records(paths)
    for record in records.values():
        for task, limit in limits.items():
            record["config"]["resolved"]["evaluation"]["tasks"][task]["limit"] = limit
    grid = Grid(list(records.values()), read_items(records))
    summary, detail = claims_tables([Claim.model_validate(CLAIM)], grid)
    for row in (summary.iloc[0], detail.iloc[0]):
        assert row["verdict"] == "inconclusive"
        assert pd.notna(row["needed_items"]) == more
        assert ("items" in row["to_settle"]) == more


@pytest.mark.parametrize(("direction", "sign"), [("above", 1), ("below", -1)])
def test_what_is_needed_against_a_claim_would_refute_it_among_its_comparisons(direction, sign):
    claim = Claim.model_validate({**CLAIM, "direction": direction, "negligible": 0.05})
    totals = sign * crossed(np.random.default_rng(1), 4, 100, of_seeds=0, of_items=2, mean=-0.4)
    evidence = Difference(resample(make_items(totals)))
    # Against the claim, were it the only comparison.
    assert judge(claim, evidence) == "refuted"
    assert judge(claim, evidence, of=8) == "inconclusive"
    comparison = Comparison({}, evidence)
    judged = Judged(claim, comparison, of=8)
    assert judged.detail == "refuted by itself, not as one of 8 comparisons"
    assert judged.to_settle.endswith("more)")
    assert 110 < needed(claim, evidence, of=8).items < 300
    for copies in (3, 4, 5):
        # As many times the items, with the same spread around the same estimate.
        more = Difference(resample(make_items(np.tile(totals, copies))))
        assert judge(claim, more, of=8) == "refuted"


def test_bases_that_lack_seeds_of_others_do_not_need_none_more():
    cost = {"metric": "repair_cost_seconds", "direction": "below", "threshold": 1}
    claim = Claim.model_validate(CLAIM | cost)
    # Three seeds of one base, and one of each of four more.
    measured = [("a", 0), ("a", 1), ("a", 2), ("b", 0), ("c", 0), ("d", 0), ("e", 0)]
    logarithms = [-0.09, 0.05, -0.1, 0.04, -0.13, 0.02, -0.2]
    evidence = Ratio(dict(zip(measured, logarithms, strict=True)))
    judged = Judged(claim, Comparison({}, evidence), of=1)
    assert judged.needed.seeds == 3
    assert judged.to_settle == "3 seeds a cell"


def test_fewest_is_the_first_that_is_enough():
    assert fewest(3, lambda n: n * n >= 50) == 8
    assert fewest(9, lambda n: n * n >= 50) == 10
    assert fewest(1, lambda n: False) is None


def test_what_settles_all_is_the_most_that_any_needs():
    assert all_of([Needed(5, 100), Needed(7, None)]) == Needed(7, None)
    assert all_of([Needed(5, None), Needed(None, 100)]) == Needed(5, 100, both=True)
    assert all_of([Needed(5, 100), Needed()]) == Needed()
    assert all_of([]) == Needed()


@pytest.mark.parametrize("direction", ["above", "below"])
@pytest.mark.parametrize(
    ("mean", "negligible", "verdict"),
    [(0, 0, "inconclusive"), (0, 1, "equal"), (-1.2, 1, "refuted"), (1.2, 1, "supported")],
)
def test_a_difference_that_is_not_worth_naming_is_equal(direction, mean, negligible, verdict):
    sign = 1 if direction == "above" else -1
    totals = crossed(np.random.default_rng(0), 3, 100, of_seeds=0.1, of_items=1, mean=mean)
    evidence = Difference(resample(make_items(sign * totals)))
    change = {"negligible": negligible, "direction": direction}
    assert judge(Claim.model_validate({**CLAIM, **change}), evidence) == verdict


@pytest.mark.parametrize(
    ("metric", "margin"),
    [("average", 0.5), ("answers", 0.01), ("perplexity", 0.02), ("repair_cost_seconds", 0.05)],
)
def test_what_is_not_worth_naming_depends_on_the_metric(metric, margin):
    claim = {**CLAIM, "metric": metric, "threshold": 1}
    assert Claim.model_validate(claim).margin == margin
    assert Claim.model_validate({**claim, "negligible": 0}).margin == 0


def test_costs_of_different_devices_are_not_compared(tmp_path):
    cost = {"metric": "repair_cost_seconds", "direction": "below", "threshold": 1}
    paths = made_up(tmp_path)
    summary, _ = verdicts(paths, cost)
    assert summary["verdict"] != "not tested"
    for path in paths:
        if "seft" in path.parts:
            record = json.loads(path.read_text())
            record["provenance"]["cpu"] = "another one"
            path.write_text(json.dumps(record))
    summary, detail = verdicts(paths, cost)
    assert summary["verdict"] == "not tested"
    assert detail["estimate"].isna().all()


def test_costs_within_five_percent_are_equal():
    cost = {"metric": "repair_cost_seconds", "direction": "below", "threshold": 1, "seeds": 1}
    claim = Claim.model_validate(CLAIM | cost)
    for ratio, verdict in {1.02: "equal", 0.98: "equal", 1.2: "refuted", 0.8: "supported"}.items():
        logarithms = [math.log(ratio) + noise for noise in (-0.005, 0, 0.005)]
        measured = {("base", seed): value for seed, value in enumerate(logarithms)}
        assert judge(claim, Ratio(measured)) == verdict


def test_a_claim_that_is_settled_but_not_everywhere_better_is_equal(tmp_path):
    strength = {**STRENGTH, "seft": 0.9, "lora": 0.2, "spp": 0.9}
    repairs = ("none", "lora", "spp", "seft")
    paths = made_up(tmp_path, repairs=repairs, strength=strength, seeds=range(6))
    change = {"against": ["lora", "spp"], "negligible": 6}
    summary, detail = verdicts(paths, change)
    assert detail["verdict"].tolist() == ["supported", "equal"]
    assert summary["verdict"] == "equal"
    assert not summary["to_settle"]
    # What is open keeps it open.
    summary, detail = verdicts(paths, change | {"negligible": 0})
    assert detail["verdict"].tolist() == ["supported", "inconclusive"]
    assert summary["verdict"] == "inconclusive"


def test_what_is_needed_for_equality_would_indeed_show_it():
    claim = Claim.model_validate({**CLAIM, "negligible": 0.5})
    totals = crossed(np.random.default_rng(6), 3, 60, of_seeds=0.01, of_items=2, of_both=0.3)
    totals += 0.1 - totals.mean()
    evidence = Difference(resample(make_items(totals)))
    assert judge(claim, evidence) == "inconclusive"
    items = needed(claim, evidence, of=1).items
    for copies in (2, 3, 5, 8):
        more = Difference(resample(make_items(np.tile(totals, copies))))
        assert (judge(claim, more) == "equal") == (60 * copies >= items)


def test_equality_may_take_less_than_a_refutation_among_many_comparisons():
    claim = Claim.model_validate({**CLAIM, "negligible": 0.5})
    totals = crossed(np.random.default_rng(6), 3, 60, of_seeds=0.01, of_items=2, of_both=0.3)
    totals += -0.05 - totals.mean()
    evidence = Difference(resample(make_items(totals)))
    assert judge(claim, evidence, of=1000) == "inconclusive"
    items = needed(claim, evidence, of=1000).items
    # A refutation takes t = 4.06, not 1.96, for 0.55 in place of 0.45.
    assert items < 60 * 3 < evidence.needed(0.5, 1 - 0.05 / 1000).items
    for copies in (2, 3, 5):
        more = Difference(resample(make_items(np.tile(totals, copies))))
        assert (judge(claim, more, of=1000) == "equal") == (60 * copies >= items)


def test_refuting_one_of_many_comparisons_takes_a_wider_interval():
    totals = crossed(np.random.default_rng(1), 4, 100, of_seeds=0.1, of_items=2, mean=-0.55)
    evidence = Difference(resample(make_items(totals)))
    claim = Claim.model_validate(CLAIM)
    assert judge(claim, evidence) == "refuted"
    assert judge(claim, evidence, of=1000) == "inconclusive"


def test_identical_methods_are_no_gain():
    items = make_items(np.random.default_rng(2).normal(size=(3, 40)))
    evidence = Difference(resample(items) - resample(items))
    assert judge(Claim.model_validate(CLAIM), evidence) == "equal"


def test_one_seed_settles_nothing_unless_the_claim_says_so(tmp_path):
    paths = made_up(tmp_path, seeds=[0], strength={**STRENGTH, "seft": 0.9, "lora": 0.2})
    summary, detail = verdicts(paths, {})
    assert (summary["verdict"], summary["seeds"]) == ("no verdict", 1)
    assert summary["needed_seeds"] == 2
    assert detail.iloc[0]["to_settle"] == "2 seeds a cell (1 more)"
    # No interval beside what is no verdict.
    for row in (summary, detail.iloc[0]):
        assert row["estimate"] > 0
        assert pd.isna([row["ci_low"], row["ci_high"]]).all()
    assert verdicts(paths, {"seeds": 1})[0]["verdict"] == "supported"


def test_what_the_grid_lacks_is_told_from_what_was_not_run(tmp_path):
    absent = [Cell("tiny", "wanda", "s60", "lora", seed) for seed in (0, 1, 2)]
    paths = made_up(tmp_path, patterns=["s50", "s60"], missing=absent)
    cells = {"repair": "seft", "pattern": ["s60", "s70", "s80"]}
    summary, detail = verdicts(paths, {"against": ["spp", "lora"], "cells": cells})
    assert summary["verdict"] == "not tested"
    assert summary["detail"] == (
        "5 not tested: spp, s70, s80 not in this grid; 1 not tested: lora not run"
    )
    assert set(detail["verdict"]) == {"not tested"}
    assert detail["detail"].iloc[0] == "wanda-s60: spp not in this grid"
    assert pd.isna(summary["estimate"])


def test_a_claim_about_accuracy_is_not_tested_by_perplexity_alone(tmp_path):
    paths = made_up(tmp_path)
    for path in paths:
        changed(path, lambda r: drop_questions(r["config"]["resolved"]["evaluation"]["tasks"]))
    summary, detail = verdicts(paths, {})
    assert (summary["verdict"], summary["comparisons"]) == ("not tested", 0)
    assert detail.empty
    assert verdicts(paths, {"metric": "perplexity"})[0]["comparisons"] == 1


def drop_questions(tasks):
    for task in [name for name in tasks if name != "wiki"]:
        del tasks[task]


def test_a_claim_of_every_sparsity_is_not_supported_by_one(tmp_path):
    paths = made_up(tmp_path, strength={**STRENGTH, "seft": 0.9, "lora": 0.2})
    summary, detail = verdicts(paths, {"cells": {"repair": "seft", "pattern": ["s60", "s80"]}})
    assert summary["verdict"] == "inconclusive"
    assert detail["verdict"].tolist() == ["supported", "not tested"]


def test_a_failed_repair_is_not_tested_against(tmp_path):
    failed = [Cell("tiny", "wanda", "s60", "lora", seed) for seed in (0, 1, 2)]
    summary, _ = verdicts(made_up(tmp_path, failed=failed), {})
    assert summary["verdict"] == "not tested"
    assert summary["detail"] == "1 not tested: lora failed"


def test_a_claim_of_several_families_needs_several(tmp_path):
    strength = {**STRENGTH, "seft": 0.9, "lora": 0.2}
    claim = {"metric": "tasks", "apart": ["model", "pruner", "task"], "at_least": {"model": 2}}
    one = made_up(tmp_path / "one", strength=strength)
    summary, detail = verdicts(one, claim)
    assert summary["verdict"] == "inconclusive"
    assert summary["detail"].startswith("1 of at least 2 models")
    assert detail["task"].tolist() == ["social_iqa", "winogrande", "science"]
    assert (detail["pattern"] == "all").all()
    two = made_up(tmp_path / "two", models=["one", "two"], strength=strength)
    assert verdicts(two, claim)[0]["verdict"] == "supported"


def test_costs_are_ratios_over_bases_and_seeds(tmp_path):
    paths = made_up(tmp_path, pruners=["magnitude", "wanda"])
    for path in paths:
        record = read_json(path)
        if record["cell"]["repair"] == "seft":
            for stage in ("repair", "merge"):
                record["stages"][stage]["seconds"] *= 0.5 + record["cell"]["seed"] / 100
            write_json(path, record)
    claim = {
        "metric": "repair_cost_seconds",
        "direction": "below",
        "threshold": 1,
        "apart": ["against"],
    }
    summary, detail = verdicts(paths, claim)
    assert summary["verdict"] == "supported"
    # Half of LoRA's, a hundredth more at each of three seeds.
    expected = math.exp(np.mean(np.log([0.5, 0.51, 0.52])))
    assert detail.iloc[0]["estimate"] == pytest.approx(expected)
    assert detail.iloc[0]["ci_high"] < 0.53
    assert detail.iloc[0]["pruner"] == "all"


def test_times_beside_other_work_do_not_count(tmp_path):
    paths = made_up(tmp_path, pruners=["wanda"], patterns=["s60"])
    cost = {"metric": "repair_cost_seconds", "direction": "below", "threshold": 1}
    alone = verdicts(paths, cost)[0]["estimate"]
    for path in paths:
        record = read_json(path)
        costs = record["stages"]["repair"]
        if record["cell"]["repair"] == "seft" and record["cell"]["seed"]:
            # Without it each of the two would take as long as before.
            costs["waited_seconds"] = costs["seconds"]
            costs["seconds"] *= 2
            write_json(path, record)
    summary, detail = verdicts(paths, {**cost, "seeds": 1})
    assert detail.iloc[0]["seeds"] == 1
    assert summary["estimate"] == pytest.approx(alone, rel=0.02)

    record = read_json(path := next(path for path in paths if "/seft/seed0/" in str(path)))
    repair, merge = (record["stages"][stage] for stage in ("repair", "merge"))
    repair["waited_seconds"] = 0.06 * (repair["seconds"] + merge["seconds"])
    write_json(path, record)
    summary, _ = verdicts(paths, {**cost, "seeds": 1})
    assert summary["verdict"] == "not tested"
    assert "on one device, with a core to itself" in summary["detail"]
    memory = {**cost, "metric": "repair_peak_memory_mib"}
    assert verdicts(paths, memory)[1].iloc[0]["seeds"] == 3


@pytest.mark.parametrize(
    ("metric", "stage"),
    [("repair_cost_seconds", "merge"), ("merge_seconds", "merge"), ("prune_seconds", "prune")],
)
def test_a_time_is_of_its_own_stages(tmp_path, metric, stage):
    paths = made_up(tmp_path, pruners=["wanda"], patterns=["s60"])
    for path in paths:
        record = read_json(path)
        if record["cell"]["repair"] == "seft" and record["cell"]["seed"]:
            # Of a training of 56 s and more, and a merge of 20 and more, it is a fifth and more.
            costs = record["stages"][stage]
            costs["waited_seconds"] = costs["seconds"]
            write_json(path, record)
    _, detail = verdicts(paths, {"metric": metric, "threshold": 1, "seeds": 1})
    assert detail.iloc[0]["seeds"] == 1
    _, detail = verdicts(paths, {"metric": "repair_seconds", "threshold": 1})
    assert detail.iloc[0]["seeds"] == 3


def test_a_merge_is_a_part_of_what_a_repair_takes(tmp_path):
    paths = made_up(tmp_path, pruners=["wanda"], patterns=["s60"], seeds=[0])
    for repair, merging in (("seft", 4.0), ("lora", 24.0)):
        (path,) = [path for path in paths if f"/{repair}/" in str(path)]
        record = read_json(path)
        record["stages"]["repair"]["seconds"] = 76.0
        record["stages"]["merge"]["seconds"] = merging
        write_json(path, record)
    claim = {"metric": "repair_cost_seconds", "direction": "below", "threshold": 1}
    _, detail = verdicts(paths, claim)
    assert detail.iloc[0]["estimate"] == pytest.approx(0.8)


def test_one_measurement_of_a_cost_is_inconclusive():
    claim = Claim.model_validate(
        {**CLAIM, "metric": "repair_cost_seconds", "direction": "below", "threshold": 1, "seeds": 1}
    )
    evidence = Ratio({(("m", "p", "s"), 0): math.log(0.5)})
    assert evidence.interval() == (None, None)
    assert judge(claim, evidence) == "inconclusive"


def changed(path, change):
    record = read_json(path)
    change(record)
    write_json(path, record)


def of(paths, repair, seed=0) -> Path:
    (path,) = [
        path for path in paths if path.parts[-3] == repair and path.parts[-2] == f"seed{seed}"
    ]
    return path


OBSERVED = {"against": [], "direction": "below", "seeds": 1}


def test_sparsity_that_drifts_in_one_layer_of_one_seed_refutes(tmp_path):
    claim = {**OBSERVED, "metric": "sparsity_drift", "threshold": 1e-4}
    paths = made_up(tmp_path)
    assert verdicts(paths, claim)[0]["verdict"] == "supported"
    changed(of(paths, "seft", 1), lambda r: r["sparsity"]["layers"].update({"layers.0.up": 0.599}))
    summary, _ = verdicts(paths, claim)
    assert summary["verdict"] == "refuted"
    assert summary["estimate"] == pytest.approx(0.001)


@pytest.mark.parametrize("ends", [[0.599, 0.6], [0.6, 0.601]], ids=["down", "up"])
def test_sparsity_that_drifts_while_training_and_is_restored_refutes(tmp_path, ends):
    claim = {**OBSERVED, "metric": "sparsity_drift", "threshold": 1e-4}
    paths = made_up(tmp_path)
    changed(
        of(paths, "seft", 1), lambda r: r["sparsity"]["evolution"].update({"layers.0.up": ends})
    )
    summary, _ = verdicts(paths, claim)
    assert summary["verdict"] == "refuted"
    assert summary["estimate"] == pytest.approx(0.001)


def test_sparsity_between_the_start_and_the_end_must_be_known(tmp_path):
    claim = {**OBSERVED, "metric": "sparsity_drift", "threshold": 1e-4}
    paths = made_up(tmp_path)
    # A method that does not evolve is measured after the merge alone.
    lora = {**claim, "cells": {"repair": "lora"}}
    assert verdicts(paths, lora)[0]["verdict"] == "supported"
    changed(of(paths, "seft", 1), lambda r: r["sparsity"].pop("evolution"))
    summary, detail = verdicts(paths, claim)
    assert summary["verdict"] == "not tested"
    assert "its evolutions not recorded" in detail["detail"].iloc[0]


def test_a_loss_that_is_not_finite_refutes_stability(tmp_path):
    claim = {**OBSERVED, "metric": "diverged", "threshold": 0}
    assert verdicts(made_up(tmp_path / "ok"), claim)[0]["verdict"] == "supported"
    failed = [Cell("tiny", "wanda", "s60", "seft", 1)]
    summary, _ = verdicts(made_up(tmp_path / "nan", failed=failed), claim)
    assert summary["verdict"] == "refuted"
    assert summary["estimate"] == pytest.approx(1 / 3)


def test_a_perplexity_that_leaves_the_range_of_numbers_is_divergence(tmp_path):
    claim = {**OBSERVED, "metric": "diverged", "threshold": 0}
    paths = made_up(tmp_path, failed=[Cell("tiny", "wanda", "s60", "seft", 1)])
    changed(of(paths, "seft", 1), lambda r: r["error"].update({"class": "OverflowError"}))
    assert verdicts(paths, claim)[0]["estimate"] == pytest.approx(1 / 3)


@pytest.mark.parametrize("metric", ["diverged", "sparsity_drift"])
def test_a_base_that_failed_was_run(tmp_path, metric):
    claim = {**OBSERVED, "metric": metric, "threshold": 0}
    base = Cell("tiny", "wanda", "s60", "none", 0)
    for grid, said in (({"failed": [base]}, "failed"), ({"missing": [base]}, "not run")):
        summary, _ = verdicts(made_up(tmp_path / said, **grid), claim)
        assert summary["detail"] == f"1 not tested: the unrepaired base {said}"


def test_stability_is_not_judged_without_the_base(tmp_path):
    claim = {**OBSERVED, "metric": "diverged", "threshold": 0}
    base = Cell("tiny", "wanda", "s60", "none", 0)
    summary, _ = verdicts(made_up(tmp_path, missing=[base]), claim)
    assert summary["verdict"] == "not tested"
    assert summary["detail"] == "1 not tested: the unrepaired base not run"


def test_stability_is_not_judged_without_a_perplexity(tmp_path):
    def without(record):
        tasks = record["config"]["resolved"]["evaluation"]["tasks"]
        corpora = [name for name, task in tasks.items() if task["metric"] == "perplexity"]
        for name in corpora:
            del tasks[name]
        record["metrics"] = [m for m in record["metrics"] if m["task"] not in corpora]

    claim = {**OBSERVED, "metric": "diverged", "threshold": 0}
    paths = made_up(tmp_path / "ok")
    for path in paths:
        changed(path, without)
    summary, _ = verdicts(paths, claim)
    assert summary["verdict"] == "not tested"
    assert summary["detail"] == "1 not tested: a perplexity not measured"
    # A loss that is not finite says enough.
    failed = [Cell("tiny", "wanda", "s60", "seft", 1)]
    paths = made_up(tmp_path / "nan", failed=failed)
    for path in paths:
        changed(path, without)
    assert verdicts(paths, claim)[0]["verdict"] == "refuted"


def test_a_claim_over_several_bases_says_what_it_is_without(tmp_path):
    failed = [Cell("tiny", "magnitude", "s60", "seft", seed) for seed in (0, 1, 2)]
    paths = made_up(tmp_path, pruners=["wanda", "magnitude"], failed=failed)
    claim = {"metric": "repair_cost_seconds", "direction": "below", "threshold": 9, "apart": []}
    summary, _ = verdicts(paths, claim)
    assert summary["verdict"] == "supported"
    assert summary["detail"] == "without magnitude-s60: seft failed"


def test_a_perplexity_above_the_bases_is_divergence(tmp_path):
    claim = {**OBSERVED, "metric": "diverged", "threshold": 0}
    paths = made_up(tmp_path, strength={**STRENGTH, "seft": -0.5})
    assert verdicts(paths, claim)[0]["estimate"] == 1


def test_out_of_memory_is_no_divergence(tmp_path):
    claim = {**OBSERVED, "metric": "diverged", "threshold": 0}
    failed = [Cell("tiny", "wanda", "s60", "seft", 1)]
    paths = made_up(tmp_path, failed=failed)
    changed(of(paths, "seft", 1), lambda r: r["error"].update({"class": "MemoryError"}))
    summary, detail = verdicts(paths, claim)
    assert summary["verdict"] == "supported"
    assert detail.iloc[0]["seeds"] == 2


def test_the_shipped_claims_have_verdicts_on_a_whole_grid(tmp_path):
    repairs = ("none", "full", "lora", "spp", "static", "random-grow", "seft")
    paths = made_up_grid(
        tmp_path,
        pruners=["wanda"],
        patterns=["s50", "s60", "s70", "s80"],
        repairs=repairs,
        strength={**dict.fromkeys(repairs, 0.2), "none": 0.0, "seft": 0.95},
    )
    grid = grid_of(paths)
    summary, detail = claims_tables(load_claims(CLAIMS_FILE), grid)
    verdict = summary.set_index("claim")["verdict"]
    assert verdict["repairs"] == "supported"
    assert verdict["beats-baselines"] == "supported"
    assert verdict["refutation-test"] == "supported"
    assert verdict["stable"] == "supported"
    assert verdict["general"] == "inconclusive"
    counts = summary[[verdict.value.replace(" ", "_") for verdict in Verdict]].sum(axis=1)
    assert (counts == summary["comparisons"]).all()
    assert len(detail) == summary["comparisons"].sum()


PROFILE = {"metric": "profiled_peak_memory", "direction": "below", "threshold": 1}


def profile_of(peaks: dict[tuple[str, int], list[float]]) -> pd.DataFrame:
    """Measurements of methods at lengths, a repetition each."""
    return pd.DataFrame(
        {
            "method": method,
            "length": length,
            "storage": "dense",
            "checkpointing": "off",
            "repetition": number,
            "peak_bytes": peak,
        }
        for (method, length), values in peaks.items()
        for number, peak in enumerate(values)
    )


@pytest.mark.parametrize(
    ("longer", "verdict"),
    [([60, 62, 64], "supported"), ([130, 131, 132], "refuted"), ([50, 100, 180], "inconclusive")],
)
def test_a_cost_is_judged_under_each_condition_of_a_profile(longer, verdict):
    peaks = {("lora", 512): [100, 101, 102], ("seft", 512): [70, 71, 72]}
    peaks |= {("lora", 1024): [100, 101, 102], ("seft", 1024): longer}
    claim = Claim.model_validate({**CLAIM, **PROFILE})
    summary, detail = claims_tables([claim], Grid([], {}, profile_of(peaks)))
    assert list(detail["task"]) == ["512 tokens", "1024 tokens"]
    assert list(detail["verdict"]) == ["supported", verdict]
    assert summary.iloc[0]["verdict"] == verdict
    first = detail.iloc[0]
    logs = np.log(np.array([70, 71, 72]) / [100, 101, 102])
    half = stats.t.ppf(0.975, 2) * logs.std(ddof=1) / math.sqrt(3)
    expected = np.exp([logs.mean(), logs.mean() - half, logs.mean() + half])
    assert [first["estimate"], first["ci_low"], first["ci_high"]] == pytest.approx(expected)
    if verdict == "inconclusive":
        assert summary.iloc[0]["to_settle"].endswith(" repetitions")


def test_a_profile_that_is_not_there_tests_nothing(tmp_path):
    claim = Claim.model_validate({**CLAIM, **PROFILE})
    summary, _ = claims_tables([claim], Grid([], {}))
    assert summary.iloc[0]["verdict"] == "not tested"
    assert "`make profile`" in summary.iloc[0]["detail"]
    summary, _ = claims_tables([claim], Grid([], {}, profile_of({("seft", 512): [1, 1]})))
    assert summary.iloc[0]["detail"] == "1 not tested: lora not in this profile"


def test_a_claim_about_a_profile_names_no_cells(tmp_path):
    entry = {**CLAIM, **PROFILE, "cells": {"repair": "seft", "pruner": ["wanda"]}}
    with pytest.raises(ValueError, match=r"cells\.pruner: allowed with profiled_peak_memory: none"):
        load_claims(write(tmp_path, entry))
