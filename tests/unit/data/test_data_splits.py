"""Splits: disjoint, stable, in proportion; texts of articles; the check for leaks."""

import pytest

from bench.data import DataError
from bench.data.splits import articles, check_disjoint, split, without_repeats

FRACTIONS = {"train": 0.6, "validation": 0.1, "test": 0.3}
PINNED = {
    "train": ["4-0", "3-0", "5-0", "11-0", "7-0", "8-0", "2-0"],
    "validation": [],
    "test": ["0-0", "1-0", "10-0", "6-0", "9-0"],
}


def items(groups: int, each: int) -> list[dict]:
    return [
        {"id": f"{group}-{index}", "group": f"g{group}", "text": f"text {group} of {index}"}
        for group in range(groups)
        for index in range(each)
    ]


def test_every_item_is_in_one_split_and_groups_stay_together():
    everything = items(400, 3)
    parts = split(everything, FRACTIONS, seed=0)
    assert list(parts) == list(FRACTIONS)
    ids = [item["id"] for part in parts.values() for item in part]
    assert sorted(ids) == sorted(item["id"] for item in everything)
    groups = [{item["group"] for item in part} for part in parts.values()]
    assert not groups[0] & groups[1]
    assert not groups[1] & groups[2]
    assert not groups[0] & groups[2]


def test_fractions_are_met():
    parts = split(items(4000, 1), FRACTIONS, seed=0)
    for name, fraction in FRACTIONS.items():
        # Five standard deviations of a binomial count.
        assert abs(len(parts[name]) - 4000 * fraction) < 5 * (4000 * fraction) ** 0.5


def test_splits_do_not_depend_on_order_or_on_other_items():
    everything = items(60, 2)
    before = split(everything[:-20], FRACTIONS, seed=0)
    after = split(everything, FRACTIONS, seed=0)
    for name in FRACTIONS:
        ids = [item["id"] for item in after[name]]
        kept = [item["id"] for item in before[name]]
        assert [i for i in ids if i in set(kept)] == kept
    groups = [everything[i : i + 2] for i in range(0, 120, 2)]
    backwards = [item for group in groups[::-1] for item in group]
    assert split(backwards, FRACTIONS, seed=0) == after


def test_order_is_shuffled_by_group_and_fixed_by_the_seed():
    everything = items(50, 2)
    (first,) = split(everything, {"test": 1.0}, seed=0).values()
    (other,) = split(everything, {"test": 1.0}, seed=1).values()
    assert first != everything
    assert first != other
    for one, two in zip(first[::2], first[1::2], strict=True):
        assert (one["group"], one["id"][-1], two["id"][-1]) == (two["group"], "0", "1")


def test_items_without_a_group_stand_alone():
    alone = [{"id": str(index), "text": f"text {index}"} for index in range(100)]
    parts = split(alone, {"train": 0.5, "test": 0.5}, seed=0)
    assert sum(map(len, parts.values())) == 100
    assert all(parts.values())


def test_fractions_that_fall_short_of_one_by_rounding(monkeypatch):
    monkeypatch.setattr("bench.data.splits.position", lambda seed, name: 1 - 2**-48)
    thirds = dict.fromkeys(("train", "validation", "test"), 0.3333333333)
    assert [len(part) for part in split(items(1, 1), thirds, seed=0).values()] == [0, 0, 1]


def test_the_split_of_a_group_is_pinned():
    # A change of the hash would silently change every result.
    parts = split(items(12, 1), FRACTIONS, seed=0)
    assert {name: [item["id"] for item in part] for name, part in parts.items()} == PINNED


def test_repeats_are_dropped_after_the_first():
    texts = ["One text.", "Another.", "one  TEXT", "Third"]
    kept, count = without_repeats([{"id": str(i), "text": text} for i, text in enumerate(texts)])
    assert [item["id"] for item in kept] == ["0", "1", "3"]
    assert count == 1


def test_twins_of_one_template_are_no_repeats():
    twins = [
        {"id": "1", "sentence": "Cup, box: _.", "options": ["cup", "box"], "answer": 0},
        {"id": "2", "sentence": "Cup, box: _.", "options": ["cup", "box"], "answer": 1},
    ]
    assert without_repeats(twins) == (twins, 0)


def article(*paragraphs: str) -> list[dict]:
    return [{"id": str(i), "group": "A", "text": text} for i, text in enumerate(paragraphs)]


@pytest.mark.parametrize(
    ("paragraphs", "characters", "text"),
    [
        (["One two.", "Three."], 100, "One two.\n\nThree."),
        (["One two.", "Three."], 16, "One two.\n\nThree."),
        (["One two.", "Three."], 15, "One two."),
        (["One two.", "Three."], 8, "One two."),
        (["One. Two three. Four", "x"], 15, "One. Two three."),
        (["One. Two three. Four", "x"], 14, "One."),
        (["One. Two three. Four", "x"], 4, "One."),
        (["One two three"], 12, "One two"),
        (["One two three"], 7, "One two"),
        (["One two three"], 6, "One"),
        (["Unbreakable"], 5, "Unbre"),
    ],
)
def test_articles_are_cut_at_a_boundary(paragraphs, characters, text):
    assert articles(article(*paragraphs), characters) == [{"id": "A", "text": text}]


def test_one_text_an_article():
    everything = items(3, 2)
    (ordered,) = split(everything, {"test": 1.0}, seed=0).values()
    texts = articles(ordered, 1000)
    assert {text["id"] for text in texts} == {"g0", "g1", "g2"}
    assert {text["text"] for text in texts} == {
        f"text {group} of 0\n\ntext {group} of 1" for group in range(3)
    }


TRAIN = {
    "text/train": [{"id": "t", "text": "Long ago, the red cup\nfell: nobody saw it. The end."}],
    "qa/train": [{"id": "q", "prompt": "Fact: ice is cold.\nAnswer:", "response": " ice."}],
}


@pytest.mark.parametrize(
    "item",
    [
        {"text": "The red cup fell; nobody saw it!"},
        {"text": "Nothing of this is there.\n\nThe red cup fell; nobody saw it!\n\nThis neither."},
        {"question": "fell", "choices": ["yes", "no"], "answer": 0},
        {"text": "long ago the red cup fell nobody saw it the end"},
        {"sentence": "The red _ fell.", "options": ["cup", "box"], "answer": 0},
        {"question": "Fact: ice is cold?", "choices": ["yes", "no"], "answer": 0},
        {"prompt": "ice is cold", "response": " x"},
        {"text": "ice is cold answer ice"},
    ],
)
def test_a_leak_is_named(item):
    tested = {"set/test": [{"id": "clean", "text": "Something else."}, {"id": "leak", **item}]}
    with pytest.raises(DataError, match=r"^1 evaluation items .*: set/test/leak$"):
        check_disjoint(TRAIN, tested)


@pytest.mark.parametrize(
    "item",
    [
        {"text": "the red cup fell nobody saw it the end of it"},
        {"text": "ago the red cup nobody"},
        {"text": "he red cup fell nobody saw"},
        {"text": "saw it The end Fact ice"},  # across two texts
        {"text": "The red cup\n\nNothing of this is there."},  # a heading
        {"text": " = The red cup fell; nobody = \n"},  # a heading of WikiText
        {"sentence": "The red _ fell.", "options": ["cup", "box"], "answer": 1},
    ],
)
def test_what_only_looks_like_a_leak(item):
    check_disjoint(TRAIN, {"set/test": [{"id": "clean", **item}]})


def test_leaks_agree_with_a_search_in_strings():
    words = list("abcdefg")
    answers = {"choices": ["yes", "no"], "answer": 0}
    seen = [" ".join(words[(i * i + j) % 7] for j in range(12)) for i in range(5)]
    for length in range(1, 9):
        for i in range(40):
            text = " ".join(words[(i * j + i // 3) % 7] for j in range(length))
            leaks = any(f" {text} " in f" {other} " for other in seen)
            training = {"x": [{"id": str(k), "text": other} for k, other in enumerate(seen)]}
            try:
                check_disjoint(training, {"y": [{"id": "i", "question": text, **answers}]})
                found = False
            except DataError:
                found = True
            assert found == leaks
