"""What a grid says of each of its bases."""

import pandas as pd
import pytest

from bench.cells import BASE, IDENTITY
from bench.statistics.comparisons import COLUMNS
from bench.tables.answer import answers, in_words

PLACE = ("m", "wanda", "s60", "default")
UNTRAINED = ("m", "wanda", "s60", "none")
KINDS = {"answers_bpb": "answer_bpb", "wiki_perplexity": "perplexity", "average": "mean"}


def scores_of(repairs, task):
    """Of (repair, score, tie group); the dense model scores 1."""
    rows = [("m", "dense", "dense", "none", "none", 1.0, None)]
    for repair, mean, group in repairs:
        rows.append((*(UNTRAINED if repair == "none" else PLACE), repair, mean, group))
    table = pd.DataFrame(rows, columns=[*IDENTITY, "mean", "tie_group"])
    best = (table["tie_group"] == 1) & (table["tie_group"].max() > 1)
    return table.assign(task=task, metric=KINDS[task], best=best)


def compared(*pairs, task, seeds=3):
    """Of (a, b, difference, low, high, p, verdict)."""
    names = ["repair_a", "repair_b", "difference", "ci_low", "ci_high", "p_holm", "verdict"]
    table = pd.DataFrame(pairs, columns=names)
    place = dict(zip(BASE, PLACE, strict=True))
    table = table.assign(**place, task=task, metric=KINDS[task], seeds=seeds)
    return table.reindex(columns=COLUMNS)


COSTS = pd.DataFrame(
    [(*PLACE, "lora", 10.0, 100.0), (*PLACE, "seft", 11.0, 150.0), (*PLACE, "spp", 20.0, None)],
    columns=[*IDENTITY, "repair_cost_seconds", "repair_peak_memory_mib"],
).assign(device="one", repair_waited_percent=[2.0, None, 5.0])
CASES = {
    "the best and the reference": (
        [("none", 3.0, 3), ("lora", 2.0, 2), ("seft", 1.5, 1), ("spp", 2.5, 2)],
        [("lora", "seft", 0.5, 0.4, 0.6, 0.0004, "worse")],
        "answers_bpb",
        "seft is best: 1.5 bits a byte, 0.5 below lora (0.4 to 0.6, p < 0.001), at 1.10 times its "
        "time and 1.50 times its memory; unrepaired 3, dense 1.",
    ),
    "a tie": (
        [("none", 40126.4, 2), ("lora", 20.0, 1), ("seft", 19.0, 1)],
        [("seft", "lora", -0.05, -0.2, 0.1, 0.4, "inconclusive")],
        "wiki_perplexity",
        "seft and lora tie for the best: seft perplexity 19, 0.05 nats a token below lora "
        "(\N{MINUS SIGN}0.1 to 0.2, p = 0.4), at 1.10 times its time and 1.50 times its memory; "
        "unrepaired 40,126, dense 1.",
    ),
    "the reference is the best": (
        [("lora", 50.0, 1), ("spp", 48.0, 2)],
        [("lora", "spp", 2.0, 1.0, 3.0, 0.01, "better")],
        "average",
        "lora is best: 50 %, 2 points above spp (1 to 3, p = 0.01), at 0.50 times its time; "
        "dense 1.",
    ),
    "equal": (
        [("lora", 2.0, 1), ("seft", 1.999, 1)],
        [("seft", "lora", -0.001, -0.004, 0.002, 1.0, "equal")],
        "answers_bpb",
        "seft and lora tie for the best: seft 2 bits a byte, 0.001 below lora "
        "(\N{MINUS SIGN}0.002 to 0.004, equal), at 1.10 times its time and 1.50 times its memory; "
        "dense 1.",
    ),
    "one seed": (
        [("lora", 2.0, 1), ("seft", 1.5, 1)],
        [("seft", "lora", -0.5, -0.6, -0.4, 0.001, "no verdict")],
        "answers_bpb",
        "seft comes first: 1.5 bits a byte, 0.5 below lora (one seed: no verdict), at 1.10 times "
        "its time and 1.50 times its memory; dense 1.",
    ),
    "nothing helps": (
        [("none", 2.0, 1), ("lora", 3.0, 2)],
        [("none", "lora", -1.0, -1.2, -0.8, 0.001, "better")],
        "answers_bpb",
        "no repair is better than none; unrepaired 2, dense 1.",
    ),
    "the best does not help": (
        [("none", 42.4, 1), ("lora", 41.0, 1), ("seft", 35.0, 2)],
        [("lora", "none", -1.4, -3.0, 0.2, 0.3, "inconclusive")],
        "average",
        "no repair is better than none; unrepaired 42.4, dense 1.",
    ),
    "the best may help": (
        [("seft", 1.9, 1), ("lora", 1.95, 1), ("none", 2.0, 1)],
        [
            ("none", "seft", 0.1, -0.1, 0.3, 0.4, "inconclusive"),
            ("none", "lora", 0.05, -0.1, 0.2, 0.5, "inconclusive"),
            ("seft", "lora", -0.05, -0.2, 0.1, 0.6, "inconclusive"),
        ],
        "answers_bpb",
        "no repair is surely better than none; seft comes first: 1.9 bits a byte, 0.05 below lora "
        "(\N{MINUS SIGN}0.1 to 0.2, p = 0.6), at 1.10 times its time and 1.50 times its memory; "
        "unrepaired 2, dense 1.",
    ),
    "one of two that tie surely helps": (
        [("seft", 1.9, 1), ("lora", 1.95, 1), ("none", 2.0, 1)],
        [
            ("none", "seft", 0.1, -0.1, 0.3, 0.4, "inconclusive"),
            ("none", "lora", 0.05, 0.02, 0.08, 0.01, "worse"),
            ("seft", "lora", -0.05, -0.2, 0.1, 0.6, "inconclusive"),
        ],
        "answers_bpb",
        "seft and lora tie for the best: seft 1.9 bits a byte, 0.05 below lora "
        "(\N{MINUS SIGN}0.1 to 0.2, p = 0.6), at 1.10 times its time and 1.50 times its memory; "
        "unrepaired 2, dense 1.",
    ),
    "the first by its mean is beaten": (
        [("seft", 1.8, 2), ("lora", 1.9, 1), ("none", 3.0, 3)],
        [("lora", "seft", -0.05, -0.06, -0.04, 0.001, "better")],
        "answers_bpb",
        "lora is best: 1.9 bits a byte, 0.05 below seft (0.04 to 0.06, p = 0.001), at 0.91 times "
        "its time and 0.67 times its memory; unrepaired 3, dense 1.",
    ),
    "none is ranked": (
        [("none", 2.0, 1), ("lora", 1.5, None)],
        [("none", "lora", 0.5, 0.4, 0.6, 0.001, "worse")],
        "answers_bpb",
        "no repair is ranked; unrepaired 2, dense 1.",
    ),
    "no reference": (
        [("seft", 1.5, 1)],
        [],
        "answers_bpb",
        "seft is the only one ranked: 1.5 bits a byte; dense 1.",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_the_sentence_says_what_is_best_by_how_much_how_surely_and_at_what_cost(case):
    repairs, pairs, task, said = CASES[case]
    scores, comparisons = scores_of(repairs, task), compared(*pairs, task=task)
    (answer,) = answers(scores, comparisons, COSTS, task)
    assert answer.sentence == said
    assert list(in_words(scores, comparisons, COSTS)) == [f"m wanda s60: {said}"]


@pytest.mark.parametrize(
    ("case", "best"),
    [
        ("the best and the reference", {"seft"}),
        ("a tie", {"seft", "lora"}),
        # All are in one group: that tells nothing apart.
        ("equal", set()),
        ("one seed", set()),
        ("nothing helps", {"none"}),
    ],
)
def test_the_best_are_those_that_stand_out(case, best):
    repairs, pairs, task, _ = CASES[case]
    (answer,) = answers(scores_of(repairs, task), compared(*pairs, task=task), COSTS, task)
    assert answer.best == best
    assert set(answer.scores) == {name for name, *_ in repairs}
    assert "lora" not in answer.against


@pytest.mark.parametrize("devices", [["one", "other", "one"], ["one; other"] * 3])
def test_costs_of_several_devices_are_not_compared(devices):
    repairs, pairs, task, sentence = CASES["the best and the reference"]
    found = answers(
        scores_of(repairs, task), compared(*pairs, task=task), COSTS.assign(device=devices), task
    )
    said = sentence.replace(", at 1.10 times its time and 1.50 times its memory", "")
    assert [answer.sentence for answer in found] == [said]


def test_of_a_time_beside_other_work_nothing_is_said():
    repairs, pairs, task, sentence = CASES["the best and the reference"]
    found = answers(
        scores_of(repairs, task),
        compared(*pairs, task=task),
        COSTS.assign(repair_waited_percent=[5.1, 0.0, 0.0]),
        task,
    )
    said = sentence.replace("at 1.10 times its time and 1.50", "at 1.50")
    assert [answer.sentence for answer in found] == [said]


def test_what_is_not_as_sparse_as_was_asked_is_not_ranked():
    repairs = [("lora", 2.0, 1), ("lora-dense", 1.2, None), ("seft", 1.5, 1)]
    pairs = [("lora", "lora-dense", 0.8, 0.7, 0.9, 0.001, "worse")]
    scores, task = scores_of(repairs, "answers_bpb"), "answers_bpb"
    (answer,) = answers(scores, compared(*pairs, task=task), COSTS, task)
    assert set(answer.scores) == {"lora", "seft"}
    assert answer.against == {}


def test_a_budget_at_which_all_failed_has_an_answer():
    repairs, pairs, task, sentence = CASES["the best and the reference"]
    costs = pd.concat([COSTS, COSTS.assign(budget="x16")])
    failed = scores_of(repairs, task).assign(budget="x16", mean=None, tie_group=None, best=False)
    scores = pd.concat([scores_of(repairs, task), failed[failed["repair"] == "lora"]])
    found = {
        answer.base[-1]: answer
        for answer in answers(scores, compared(*pairs, task=task), costs, task)
    }
    assert found["default"].sentence == sentence
    assert found["x16"].sentence == "no repair is ranked; unrepaired 3, dense 1."
    assert [answer.judged for answer in found.values()] == [True, False]


def test_the_unrepaired_base_is_best_at_the_budgets_where_it_is():
    repairs, pairs, task, _ = CASES["nothing helps"]
    scores, comparisons = scores_of(repairs, task), compared(*pairs, task=task)
    # At the other budget all tie, of which the one row of the base says nothing.
    tied = scores[scores["repair"] == "lora"].assign(budget="x4", tie_group=1, best=False)
    level = comparisons.assign(budget="x4", verdict="inconclusive")
    costs = pd.concat([COSTS, COSTS.assign(budget="x4")])
    both = pd.concat([scores, tied]), pd.concat([comparisons, level])
    found = {answer.base[-1]: answer.best for answer in answers(*both, costs, task)}
    assert found == {"default": {"none"}, "x4": set()}
