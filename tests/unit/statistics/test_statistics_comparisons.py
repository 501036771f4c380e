"""Scores and comparisons of whole grids."""

import math
import os
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from made_up import made_up_grid, made_up_record
from scipy import stats
from statistics_oracles import crossed, make_items

from bench.cells import Cell
from bench.evaluation.answers import answer_bpb
from bench.files import (
    UnreadableError,
    read_json,
    read_json_lines,
    write_json,
    write_json_lines,
)
from bench.records.measures import ACCURACY, KINDS
from bench.records.record import read_records
from bench.records.rows import shown_value
from bench.statistics.bootstrap import resample, spread
from bench.statistics.comparisons import (
    comparisons_table,
    family_of,
    less,
    pair,
    paired_tests,
    verdict,
)
from bench.statistics.items import read_items
from bench.statistics.scores import scores_table
from bench.statistics.significance import holm

LOW = "wiki_perplexity"
ANSWERS = [f"{task}_answer_bpb" for task in ("social_iqa", "winogrande", "science")]


def tables(paths):
    found = read_records(paths)
    records, items = list(found.values()), read_items(found)
    comparisons = comparisons_table(records, items)
    return scores_table(records, items, comparisons), comparisons


def score(table, repair, task="average", pruner="wanda", pattern="s60"):
    keys = {"pruner": pruner, "pattern": pattern, "repair": repair, "task": task}
    (row,) = table[np.logical_and.reduce([table[k] == v for k, v in keys.items()])].to_dict(
        "records"
    )
    return row


def compared(table, a, b, task="average", pattern="s60"):
    rows = table[(table["repair_a"] == a) & (table["repair_b"] == b) & (table["task"] == task)]
    (row,) = rows[(rows["pruner"] == "wanda") & (rows["pattern"] == pattern)].to_dict("records")
    return row


@pytest.fixture(scope="module")
def grid(tmp_path_factory):
    paths = made_up_grid(tmp_path_factory.mktemp("grid"), pruners=["wanda"], patterns=["s60"])
    return paths, *tables(paths)


def test_scores_are_those_of_the_records(grid):
    paths, scores, _ = grid
    values = [
        shown_value(record, "winogrande")
        for record in read_records(paths).values()
        if record["cell"]["repair"] == "seft"
    ]
    row = score(scores, "seft", "winogrande")
    assert row["mean"] == pytest.approx(np.mean(values))
    assert row["std"] == pytest.approx(np.std(values, ddof=1))
    assert (row["seeds"], row["items"], row["metric"]) == (3, 60, "acc")
    assert row["ci_low"] < row["mean"] < row["ci_high"]
    assert score(scores, "seft")["items"] == 180


def test_every_score_of_every_row_is_there_in_order(grid):
    _, scores, _ = grid
    tasks = ["social_iqa", "winogrande", "science"]
    assert list(scores["task"].unique()) == [*tasks, "average", "answers_bpb", *ANSWERS, LOW]
    assert list(scores["repair"].unique()) == ["none", "full", "lora", "lora-dense", "spp", "seft"]
    assert len(scores) == 7 * 9


def test_intervals_of_accuracies_are_percentages(grid):
    _, scores, _ = grid
    accuracies = scores[~scores["metric"].isin(["perplexity", "answer_bpb"])]
    assert accuracies["ci_low"].ge(0).all()
    assert accuracies["ci_high"].le(100).all()
    assert scores.loc[scores["metric"] == "perplexity", "ci_low"].ge(1).all()
    assert scores["ci_low"].le(scores["mean"]).all()
    assert scores["ci_high"].ge(scores["mean"]).all()


def test_perplexities_are_compared_in_nats(grid):
    paths, _, comparisons = grid
    logarithms = {}
    for record in read_records(paths).values():
        cell = record["cell"]
        if cell["pruner"] == "wanda":
            value = math.log(shown_value(record, "wiki"))
            logarithms.setdefault(cell["repair"], []).append(value)
    row = compared(comparisons, "lora", "seft", LOW)
    difference = np.mean(logarithms["lora"]) - np.mean(logarithms["seft"])
    assert row["difference"] == pytest.approx(difference, rel=1e-5)
    assert 0 < row["ci_low"] < difference < row["ci_high"]
    assert (row["significant"], row["verdict"]) == (True, "worse")


def test_every_repair_less_a_reference(grid):
    _, _, comparisons = grid
    against = less(comparisons, "lora")
    assert len(against) == 5 * 9
    assert "lora" not in set(against["repair"])
    seft, forward = (
        against[(against["repair"] == "seft") & (against["task"] == LOW)].iloc[0],
        compared(comparisons, "lora", "seft", LOW),
    )
    assert seft["difference"] == -forward["difference"]
    assert (seft["ci_low"], seft["ci_high"]) == (-forward["ci_high"], -forward["ci_low"])
    assert (seft["mean"], seft["other"]) == (forward["mean_b"], forward["mean_a"])
    assert (forward["verdict"], seft["verdict"]) == ("worse", "better")
    # Of what stands first already nothing is turned round.
    full = against[(against["repair"] == "full") & (against["task"] == LOW)].iloc[0]
    assert full["difference"] == compared(comparisons, "full", "lora", LOW)["difference"]


def test_the_interval_of_a_recovery_is_fiellers(tmp_path):
    paths = made_up_grid(tmp_path, pruners=["wanda"], patterns=["s60"], seeds=[0])
    scores, _ = tables(paths)
    task, bits = "science_answer_bpb", {}
    for path in paths:
        cell = read_json(path)["cell"]
        rows = read_json_lines(path.with_name("samples.jsonl.gz"))
        name = cell["repair"] if cell["pruner"] == "wanda" else "dense"
        bits[name] = np.array([answer_bpb(row) for row in rows if row["task"] == "science"])
    row = score(scores, "seft", task)
    assert row["recovery_low"] < row["recovery"] < row["recovery_high"]
    for end in ("recovery_low", "recovery_high"):
        # The share of the damage that the repair undoes is just not refuted by a paired t test.
        left = bits["none"] - bits["seft"] - row[end] * (bits["none"] - bits["dense"])
        assert stats.ttest_1samp(left, 0).pvalue == pytest.approx(0.05, abs=0.01)
    assert pd.isna(score(scores, "none", task)["recovery_low"])


def test_recovery_is_nothing_for_the_base_and_the_share_of_what_was_lost_for_others(grid):
    _, scores, _ = grid
    base, seft = score(scores, "none")["mean"], score(scores, "seft")
    dense = score(scores, "none", pruner="dense", pattern="dense")
    assert score(scores, "none")["recovery"] == 0
    assert math.isnan(dense["recovery"])
    assert seft["recovery"] == pytest.approx((seft["mean"] - base) / (dense["mean"] - base))
    base, seft = score(scores, "none", LOW)["mean"], score(scores, "seft", LOW)
    dense = score(scores, "none", LOW, pruner="dense", pattern="dense")["mean"]
    assert seft["recovery"] == pytest.approx(math.log(seft["mean"] / base) / math.log(dense / base))


def test_bits_per_byte_are_of_the_items_and_fewer_are_better(grid):
    paths, scores, comparisons = grid
    bits = {}
    for path in paths:
        cell = read_json(path)["cell"]
        rows = read_json_lines(path.with_name("samples.jsonl.gz"))
        nats = [-row["log_likelihoods"][0] / row["bytes"][0] for row in rows if "right" in row]
        each = [value / math.log(2) for value in nats]
        bits.setdefault(cell["repair"] if cell["pruner"] == "wanda" else "dense", []).append(each)
    # Equally many items a task: the mean over tasks is that over items.
    means = {repair: np.mean(each) for repair, each in bits.items()}
    seft, base = score(scores, "seft", "answers_bpb"), score(scores, "none", "answers_bpb")
    assert seft["mean"] == pytest.approx(means["seft"])
    assert (seft["metric"], seft["items"], seft["seeds"]) == ("answer_bpb", 180, 3)
    assert seft["tie_group"] == 1 < base["tie_group"]
    recovery = (means["none"] - means["seft"]) / (means["none"] - means["dense"])
    assert seft["recovery"] == pytest.approx(recovery)
    row = compared(comparisons, "lora", "seft", "answers_bpb")
    assert row["difference"] == pytest.approx(means["lora"] - means["seft"])
    assert 0 < row["ci_low"] < row["difference"] < row["ci_high"]
    one = score(scores, "seft", "science_answer_bpb")
    assert one["mean"] == pytest.approx(np.mean(np.array(bits["seft"])[:, 120:]))


def test_there_is_no_recovery_where_pruning_did_no_harm(tmp_path):
    harmless = {"none": 1.2, "seft": 1.1}
    scores, _ = tables(
        made_up_grid(
            tmp_path, pruners=["sparsegpt"], patterns=["s60"], repairs=harmless, strength=harmless
        )
    )
    assert scores["recovery"].isna().all()


def test_only_sparse_rows_share_the_ranks(grid):
    _, scores, comparisons = grid
    assert pd.isna(score(scores, "lora-dense")["tie_group"])
    assert pd.isna(score(scores, "none", pruner="dense", pattern="dense")["tie_group"])
    assert score(scores, "seft", LOW)["tie_group"] == 1
    assert score(scores, "none", LOW)["tie_group"] > 1
    assert compared(comparisons, "none", "seft", LOW)["significant"]


def test_methods_that_do_not_differ_share_a_rank(tmp_path):
    equal = dict.fromkeys(("full", "lora", "spp", "seft"), 0.5)
    scores, comparisons = tables(
        made_up_grid(tmp_path, pruners=["wanda"], patterns=["s60"], repairs=equal, strength=equal)
    )
    assert not comparisons["significant"].any()
    assert (scores.loc[scores["pruner"] == "wanda", "tie_group"] == 1).all()


def test_all_pairs_of_a_base_are_compared_and_corrected_together(grid):
    _, _, comparisons = grid
    for _, family in comparisons.groupby("task"):
        assert len(family) == 15
        assert (family["p_holm"] >= family["p_value"]).all()
        assert (family["p_holm"] <= 15 * family["p_value"] + 1e-9).all()
    row = compared(comparisons, "none", "seft")
    assert row["difference"] == pytest.approx(row["mean_a"] - row["mean_b"])
    assert row["ci_low"] < row["difference"] < row["ci_high"] < 0
    assert (row["seeds"], row["items"], row["test"]) == (3, 180, "permutation and t")


def test_variants_are_corrected_apart_from_methods(tmp_path):
    methods = ["none", "lora", "seft"]
    place = {"pruners": ["wanda"], "patterns": ["s60"]}
    _, alone = tables(made_up_grid(tmp_path / "alone", repairs=methods, **place))
    _, both = tables(made_up_grid(tmp_path / "both", repairs=[*methods, "seft-random"], **place))
    varied = both[["repair_a", "repair_b"]].eq("seft-random").any(axis=1)
    pd.testing.assert_frame_equal(both[~varied].reset_index(drop=True), alone)
    for _, family in both[varied].groupby("task"):
        own = (family["repair_a"] == "seft") | (family["repair_b"] == "seft")
        assert family[own]["p_holm"].tolist() == family[own]["p_value"].tolist()
        expected = holm(family[~own]["p_value"])
        assert family[~own]["p_holm"].to_numpy() == pytest.approx(expected, abs=1e-9)
        assert (own.sum(), (~own).sum()) == (1, 2)


def test_families_of_comparisons():
    methods = {"lora": "lora", "seft": "seft", "a": "seft", "b": "seft", "c": "lora"}
    assert family_of("lora", "seft", methods) == "methods"
    assert family_of("seft", "a", methods) == family_of("c", "lora", methods) == "options"
    assert family_of("a", "b", methods) == family_of("a", "lora", methods) == "variants"


def test_one_seed_is_compared_by_its_items(tmp_path):
    _, comparisons = tables(made_up_grid(tmp_path, pruners=["wanda"], patterns=["s60"], seeds=[4]))
    tests = comparisons.groupby("task")["test"].unique().map(list).to_dict()
    assert tests == {
        "social_iqa": ["McNemar"],
        "winogrande": ["McNemar"],
        "science": ["McNemar"],
        "average": ["permutation"],
        **{task: ["permutation"] for task in ("answers_bpb", *ANSWERS)},
        LOW: ["permutation"],
    }
    assert (comparisons["seeds"] == 1).all()
    assert (comparisons["verdict"] == "no verdict").all()


def test_over_seeds_the_truth_is_rejected_as_rarely_as_it_says():
    rng = np.random.default_rng(0)
    rejected = over_items = 0
    for _ in range(250):
        a = make_items(crossed(rng, 3, 40, of_seeds=1, of_items=3))
        b = make_items(crossed(rng, 3, 40, of_seeds=1, of_items=3))
        one = pair({"t": a}, {"t": b}, ["t"])
        ((_, p),) = paired_tests([one])
        rejected += p < 0.05
        first = (make_items(items.totals[:1]) for items in (a, b))
        single = pair(*({"t": items} for items in first), ["t"])
        over_items += paired_tests([single])[0][1] < 0.05
    assert rejected / 250 <= 0.08
    resample.cache_clear()
    # Without other seeds the test speaks of the items alone.
    assert over_items / 250 > rejected / 250


@pytest.mark.parametrize("kind", KINDS.values())
def test_equality_is_two_one_sided_t_tests(kind):
    """Where only the seeds vary, they are scipy's, each at 2.5 %."""
    rng, margin, found = np.random.default_rng(4), kind.negligible, set()
    for truth, noise in product((0, 0.8, 1.2, -1.5), (0.1, 0.4)):
        values = margin * rng.normal(truth, noise, 6)
        difference = spread(resample(make_items(np.repeat(values[:, None], 30, axis=1))))
        above = stats.ttest_1samp(values, -margin, alternative="greater").pvalue < 0.025
        below = stats.ttest_1samp(values, margin, alternative="less").pvalue < 0.025
        said = verdict(difference, difference.p_value() < 0.05, kind)
        assert (said == "equal") == (above and below)
        found.add(str(said))
    assert {"equal", "better", "worse"} <= found


@pytest.mark.parametrize(
    ("truth", "said", "least", "most"),
    [
        # What is just worth naming is called equal, and what is no difference a difference, in 2.5
        # and 5 % of the cases; four standard errors of a share of 250 above.
        (0.5, "equal", 0, 0.065),
        (-0.5, "equal", 0, 0.065),
        (0, "better", 0, 0.065),
        (0, "worse", 0, 0.065),
        (0, "equal", 0.9, 1),
        (2, "better", 0.9, 1),
        (-2, "worse", 0.9, 1),
    ],
)
def test_verdicts_are_wrong_as_rarely_as_they_say(simulated, truth, said, least, most):
    verdicts = simulated[truth]
    assert least <= verdicts.count(said) / len(verdicts) <= most
    assert "no verdict" not in verdicts


@pytest.fixture(scope="module")
def simulated():
    """Verdicts of 250 comparisons of each true difference in points, of three seeds."""
    rng, verdicts = np.random.default_rng(3), {}
    for truth in (0, 0.5, -0.5, 2, -2):
        for _ in range(250):
            noise = {"of_seeds": 0.05, "of_items": 0.5, "of_both": 0.5}
            difference = spread(resample(make_items(crossed(rng, 3, 60, mean=truth, **noise))))
            significant = difference.p_value() < 0.05
            verdicts.setdefault(truth, []).append(verdict(difference, significant, ACCURACY))
        resample.cache_clear()
    return verdicts


def test_a_failed_seed_is_left_out_of_both(tmp_path):
    cells = [Cell("tiny", "wanda", "s60", "seft", seed) for seed in (1,)]
    scores, comparisons = tables(
        made_up_grid(tmp_path, pruners=["wanda"], patterns=["s60"], failed=cells)
    )
    assert score(scores, "seft")["seeds"] == 2
    assert compared(comparisons, "lora", "seft")["seeds"] == 2
    assert compared(comparisons, "full", "lora")["seeds"] == 3
    assert compared(comparisons, "lora", "seft", LOW)["seeds"] == 2
    assert score(scores, "seft", LOW)["tie_group"] == 1


def test_an_interval_is_of_the_seeds_that_the_mean_is_of(tmp_path):
    paths = made_up_grid(tmp_path, pruners=["wanda"], patterns=["s60"], repairs=["none", "seft"])
    (second,) = (path for path in paths if "seft/seed1" in str(path))
    write_json(second, read_json(second) | {"samples": None})
    scores, comparisons = tables(paths)
    assert score(scores, "seft")["seeds"] == 3
    assert pd.isna(score(scores, "seft")["ci_low"])
    assert compared(comparisons, "none", "seft")["seeds"] == 2


def test_failed_and_missing_cells_are_rows_without_numbers(tmp_path):
    gone = [Cell("tiny", "wanda", "s60", "seft", seed) for seed in (0, 1, 2)]
    absent = [Cell("tiny", "wanda", "s60", "lora", seed) for seed in (0, 1, 2)]
    scores, comparisons = tables(
        made_up_grid(tmp_path, pruners=["wanda"], patterns=["s60"], failed=gone, missing=absent)
    )
    row = score(scores, "seft")
    assert row["seeds"] == 0
    assert all(pd.isna(row[key]) for key in ("mean", "std", "ci_low", "recovery", "tie_group"))
    assert "lora" not in set(scores["repair"])
    assert "seft" not in {*comparisons["repair_a"], *comparisons["repair_b"]}


def test_a_grid_that_failed_whole_has_tables(tmp_path):
    cells = [Cell("tiny", "wanda", "s60", name, 0) for name in ("none", "seft")]
    scores, comparisons = tables(
        made_up_grid(
            tmp_path,
            pruners=["wanda"],
            patterns=["s60"],
            repairs=["none", "seft"],
            seeds=[0],
            failed=cells,
        )
    )
    assert comparisons.empty
    assert scores.loc[scores["pruner"] == "wanda", "mean"].isna().all()


def test_without_results_item_by_item_there_are_means_and_no_intervals(tmp_path):
    paths = made_up_grid(tmp_path, pruners=["wanda"], patterns=["s60"], repairs=["none", "seft"])
    for path in paths:
        write_json(path, read_json(path) | {"samples": None})
    scores, comparisons = tables(paths)
    assert comparisons.empty
    assert score(scores, "seft")["mean"] > 0
    assert scores[["se_items", "ci_low", "items", "tie_group"]].isna().all(axis=None)


@pytest.mark.parametrize("lost", ["seft", "lora", "none"])
def test_what_has_no_items_is_in_no_tie_group_and_leaves_the_others_theirs(tmp_path, lost):
    repairs = ["none", "lora", "seft"]
    paths = made_up_grid(tmp_path, pruners=["wanda"], patterns=["s60"], repairs=repairs)
    of_lost = [path for path in paths if read_json(path)["cell"]["repair"] == lost]
    of_lost = [path for path in of_lost if "dense" not in path.parts]
    expected, _ = tables([path for path in paths if path not in of_lost])
    for path in of_lost:
        write_json(path, read_json(path) | {"samples": None})
    scores, _ = tables(paths)
    for repair in repairs:
        group = score(scores, repair)["tie_group"]
        if repair == lost:
            assert pd.isna(group)
        else:
            assert group == score(expected, repair)["tie_group"]


DAMAGES = {
    "No such file or directory": Path.unlink,
    "does not fit its record: samples of social_iqa: 0; allowed: n = 60": lambda path: (
        path.write_bytes(b"")
    ),
    "cannot be unpacked": lambda path: os.truncate(path, path.stat().st_size // 2),
    "does not fit its record: samples of social_iqa: 59; ": lambda path: write_json_lines(
        path, read_json_lines(path)[1:]
    ),
    "does not fit its record: samples of social_iqa: an id occurs twice": lambda path: (
        write_json_lines(path, [(rows := read_json_lines(path))[1], *rows[1:]])
    ),
    "does not fit its record: metrics.winogrande.value = ": lambda path: write_json_lines(
        path,
        [
            row | ({"acc": 1 - row["acc"]} if row["task"] == "winogrande" else {})
            for row in read_json_lines(path)
        ],
    ),
    "a line has no task or no id": lambda path: write_json_lines(path, [{}]),
}


@pytest.mark.parametrize(("said", "damage"), DAMAGES.items(), ids=DAMAGES)
def test_items_that_do_not_fit_the_record_are_refused_in_one_line(tmp_path, said, damage):
    paths = made_up_grid(tmp_path, pruners=["wanda"], patterns=["s60"], repairs=["none", "seft"])
    samples = paths[-1].with_name("samples.jsonl.gz")
    damage(samples)
    with pytest.raises(UnreadableError) as raised:
        read_items(read_records(paths))
    message = str(raised.value)
    assert message.startswith(f"{samples}: {said}")
    assert message.endswith("--config retry_failed=true")
    assert "\n" not in message


def drop(path, dropped):
    """Make a record, and its results item by item, without some items."""
    samples = path.with_name("samples.jsonl.gz")
    write_json_lines(samples, [row for row in read_json_lines(samples) if not dropped(row)])
    record = read_json(path)
    fitting = made_up_record(Cell(**record["cell"]), read_json_lines(samples))
    write_json(path, record | {key: fitting[key] for key in ("config", "metrics")})


def test_a_metric_that_is_of_all_items_together_has_no_comparison(tmp_path):
    paths = made_up_grid(tmp_path, pruners=["wanda"], patterns=["s60"], repairs=["none", "seft"])
    for path in paths:
        samples = path.with_name("samples.jsonl.gz")
        rows = read_json_lines(samples)
        for row in rows:
            if row["task"] == "science":
                del row["acc"], row["acc_norm"]
        write_json_lines(samples, rows)
    scores, comparisons = tables(paths)
    answers = {"answers_bpb", *ANSWERS}
    assert set(comparisons["task"]) == {"social_iqa", "winogrande", LOW} | answers
    assert score(scores, "seft", "science")["mean"] > 0
    assert pd.isna(score(scores, "seft", "science")["tie_group"])


def test_repairs_are_compared_on_the_items_that_both_have(tmp_path):
    paths = made_up_grid(tmp_path, pruners=["wanda"], patterns=["s60"], repairs=["none", "seft"])
    for path in paths:
        if read_json(path)["cell"]["repair"] == "seft":
            drop(path, lambda row: row["id"].endswith("7"))
    _, comparisons = tables(paths)
    assert compared(comparisons, "none", "seft", "science")["items"] == 54


def test_the_order_of_items_and_of_records_does_not_matter(tmp_path, grid):
    paths, scores, comparisons = grid
    again, compared_again = tables(paths[::-1])
    pd.testing.assert_frame_equal(scores, again)
    pd.testing.assert_frame_equal(comparisons, compared_again)


def test_items_that_are_partly_right_are_permuted():
    rng = np.random.default_rng(2)
    binary = [make_items(100.0 * rng.integers(0, 2, (1, 30))) for _ in range(2)]
    partly = [make_items(100 * rng.random((1, 30))) for _ in range(2)]
    pairs = [pair({"t": a}, {"t": b}, ["t"]) for a, b in (binary, partly)]
    assert [test for test, _ in paired_tests(pairs)] == ["McNemar", "permutation"]


def test_items_are_paired_by_their_ids():
    rng = np.random.default_rng(1)
    totals = rng.normal(size=(1, 30))
    a = make_items(totals)
    b = make_items(totals[:, ::-1], ids=a.ids[::-1])
    found = pair({"t": a}, {"t": b}, ["t"])
    assert found.difference.values == pytest.approx([0])
    assert np.abs(found.contributions).max() == 0
    assert pair({"t": a}, {"t": make_items(totals, task="u")}, ["t"]) is None


def test_the_same_records_give_the_same_numbers(grid):
    paths, scores, _ = grid
    resample.cache_clear()
    pd.testing.assert_frame_equal(scores, tables(paths)[0])
