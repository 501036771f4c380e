"""Splits: disjoint, stable, in proportion; texts of articles; the check for leaks."""

from random import Random
from unicodedata import normalize

import pytest

from bench.data.overlaps import find_overlaps, summary, tokens
from bench.data.splits import articles, merged_groups, split, without_repeats

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


def texts(*texts: str) -> list[dict]:
    return [{"id": str(i), "text": text} for i, text in enumerate(texts)]


def test_repeats_are_dropped_after_the_first():
    items = texts("A café.", "Another.", " A  cafe\u0301.\n", "a café.", "A café")
    kept, count = without_repeats(items)
    assert [item["id"] for item in kept] == ["0", "1", "3", "4"]
    assert count == 1


@pytest.mark.parametrize(
    "distinct",
    [
        ["वह घर जाता है", "वह घर जाती है"],
        ["ไป่", "ไป้"],
        ["كَتَبَ", "كُتِبَ"],
        ["நான்", "நீன்"],
        ["?", "!", "🤔", "👍🏻", "👍🏿"],
        ["2 + 3 = 5", "2 - 3 = 5", "2 * 3 = 5"],
        ["What is C++?", "What is C#?", "What is C?"],
        ["x_1", "x 1", "x1", "X1"],
        ["五", "伍"],
    ],
    ids=str,
)
def test_distinct_texts_are_kept(distinct):
    assert without_repeats(texts(*distinct)) == (texts(*distinct), 0)


QUESTION = {"question": "Which falls?", "choices": ["cup", "box"], "answer": 0}


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (QUESTION, QUESTION | {"choices": ["cup", "table"]}),
        (QUESTION, QUESTION | {"choices": ["box", "cup"], "answer": 1}),
        (
            {"sentence": "Cup, box: _ fell.", "options": ["cup", "box"], "answer": 0},
            {"sentence": "Cup, box: _ fell.", "options": ["cup", "box"], "answer": 1},
        ),
        (
            {"sentence": "The _ and a box fell.", "options": ["cup", "box"], "answer": 0},
            {"sentence": "The cup and a _ fell.", "options": ["cup", "box"], "answer": 1},
        ),
        ({"prompt": "a", "response": "b c"}, {"prompt": "a b", "response": "c"}),
        (QUESTION | {"review": "It broke."}, QUESTION | {"review": "It held."}),
        (QUESTION | {"year": 1999}, QUESTION | {"year": 2000}),
        (QUESTION | {"prompt": "It broke."}, QUESTION | {"text_b": "It broke."}),
    ],
)
def test_items_that_differ_anywhere_are_no_repeats(first, second):
    items = [{"id": "1", **first}, {"id": "2", **second}]
    assert without_repeats(items) == (items, 0)
    again = {"id": "3", "group": "g", **dict(reversed(first.items()))}
    assert without_repeats([*items, again]) == (items, 1)


def test_groups_of_texts_with_the_same_words_become_one():
    def item(id: str, group: str | None, number: int) -> dict:
        groups = {} if group is None else {"group": group}
        return {"id": id, **groups, "text": f"The cup number {number} fell down."}

    items = [
        item("a", "x", 1),
        item("b", "y", 2),
        item("c", "y", 3),
        item("d", None, 4),
        item("e", "z", 3) | {"text": "the cup NUMBER 3, fell down"},
        item("f", "z", 1),
        {"id": "g", "text": "Too short."},
        {"id": "h", "text": "too short"},
    ]
    assert merged_groups(items) in ({"z": "x", "y": "x"}, {"z": "y", "x": "y"})
    assert merged_groups(items[:4]) == {}


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


def test_the_paragraphs_of_an_article_need_not_stand_together():
    everything = [
        {"id": "1", "group": "A", "text": "The cup is in the old house."},
        {"id": "2", "group": "B", "text": "The CUP is in the old house!"},
        {"id": "3", "group": "A", "text": "Birds."},
        {"id": "4", "group": "B", "text": "Bags."},
    ]
    # A paragraph that both have keeps them together, and in the order of the file.
    (ordered,) = split(everything, {"test": 1.0}, seed=0).values()
    assert articles(ordered, 1000) == [
        {"id": "A", "text": "The cup is in the old house.\n\nBirds."},
        {"id": "B", "text": "The CUP is in the old house!\n\nBags."},
    ]


TRAIN = {
    "text/train": [{"id": "t", "text": "Long ago, the red cup\nfell: nobody saw it. The end."}],
    "qa/train": [{"id": "q", "prompt": "Fact: ice is so cold.\nAnswer:", "response": " ice."}],
    "zh/train": [{"id": "z", "text": "老师上课时问谁写了红楼梦这本书同学们都答曹雪芹"}],
    "hi/train": [{"id": "h", "text": "सुबह वह अपने घर से बाज़ार जाता है और लौटता है"}],
    "th/train": [{"id": "th", "text": "เด็กถามว่าแมวตัวนี้ชื่ออะไรแล้วก็หัวเราะ"}],
    "mix/train": [{"id": "m", "text": "你可以用Python写一个Web服务器吗。 3 + 4 - 5 + 6 - 7 = 1"}],
}


def asked(question: str) -> dict:
    return {"question": question, "choices": ["yes", "no"], "answer": 0}


@pytest.mark.parametrize(
    "item",
    [
        {"text": "The red cup fell; nobody saw it!"},
        {"text": "Nothing of this is there.\n\nThe red cup fell; nobody saw it!\n\nThis neither."},
        asked("The red CUP fell nobody?"),
        {"text": "Nothing of this is there.\r\n\r\nThe red cup fell; nobody saw it!\r\n"},
        {"text": "Nothing of this is there.\n \t\nThe red cup fell; nobody saw it!"},
        {"text": "long ago the red cup fell nobody saw it the end"},
        {"sentence": "The red _ fell, nobody.", "options": ["cup", "box"], "answer": 0},
        asked("Fact: ice is so cold?"),
        {"prompt": "ice is so cold. Answer", "response": " x"},
        {"text": "is so cold answer ice"},
        asked("谁写了红楼梦这本书"),
        asked("谁写了红楼梦,这本书?"),
        asked("वह अपने घर से बाज़ार"),
        asked("แมวตัวนี้ชื่ออะไร"),
        asked("用python写一个web服务器吗?"),
        asked("3 + 4 - 5 + 6 - 7"),
        asked("Is it broken?") | {"review": "The red cup fell; nobody saw it!"},
        asked("Is it broken?") | {"review": "It was\n\nThe red cup fell; nobody saw it!"},
        asked("Is it broken?") | {"reviews": ["It was.", "The red cup fell; nobody saw it!"]},
        asked("Is it broken?") | {"seen": {"by": [{"text": "The red cup fell; nobody saw it!"}]}},
        # As pages have it: a soft hyphen, spaces of no width, letters of full width.
        {"text": "The red cup fell; no\u00adbody\u200b saw\ufeff it!"},
        {"text": "The \uff52\uff45\uff44 cup fell; nobody saw it!"},
        # The name of a field of another form.
        asked("Is it broken?") | {"sentence": "The red cup fell; nobody saw it!"},
    ],
    ids=str,
)
def test_a_leak_is_named(item):
    tested = {"set/test": [{"id": "clean", "text": "Something else."}, {"id": "leak", **item}]}
    said = summary(find_overlaps(TRAIN, tested))
    assert said == "1 evaluation items occur in training text: set/test/leak"


@pytest.mark.parametrize(
    "item",
    [
        {"text": "the red cup fell nobody saw it the end of it"},
        {"text": "ago the red cup nobody"},
        {"text": "he red cup fell nobody saw"},
        {"text": "saw it The end Fact ice"},  # across two texts
        {"text": "The red cup\n\nNothing of this is there."},  # a heading
        {"text": " = The red cup fell; nobody = \n"},  # a heading of WikiText
        {"sentence": "The red _ fell, nobody.", "options": ["cup", "box"], "answer": 1},
        asked("?"),
        asked("🤔 + ="),
        asked("fell"),
        asked("The red cup fell?"),  # four words
        asked("红楼梦这本书"),
        asked("红楼梦是谁写的这本书"),
        asked("वह अपने घर से बाज़ार जाती"),  # another vowel sign
        asked("แมวตัวนี้"),
        asked("แมวตัวนั้นชื่ออะไร"),
        asked("3 + 4 + 5 + 6 + 7"),
        asked("3 4 5 6 7"),
        # The name of a set, and numbers.
        asked("Is it broken?") | {"group": "The red cup fell nobody saw it", "years": [3, 4]},
    ],
    ids=str,
)
def test_what_only_looks_like_a_leak(item):
    assert find_overlaps(TRAIN, {"set/test": [{"id": "clean", **item}]}) == []


@pytest.mark.parametrize(
    ("letters", "space", "enough"),
    [
        ("abcdefg", " ", 5),
        (["का", "कि", "की", "कं", "ना", "नि", "नी"], " ", 5),
        (["בָּ", "בִּ", "בֻּ", "גָ", "גִ"], " ", 5),
        (["a\u0308", "o\u0308", "a", "o"], " ", 5),
        (["가", "나", "다", "라"], " ", 5),
        ("春夏秋冬", "", 9),
        ("กขคง", "", 13),
        ("あいうえお", "", 13),
        ("カタナー", "", 13),
        ("កខគឃ", "", 13),
        ("ကခဂဃ", "", 13),
        ("ກຂຄງ", "", 13),
    ],
    ids=str,
)
def test_leaks_agree_with_a_search_in_strings(letters, space, enough):
    random = Random(0)

    def drawn(count: int) -> str:
        return space.join(random.choices(letters, k=count))

    seen = [drawn(30) for _ in range(6)]
    wanted = [drawn(count) for count in range(1, 20) for _ in range(4)]
    for text in seen:
        parts = text.split(space) if space else list(text)
        for count in range(1, 20):
            start = random.randrange(len(parts) - count)
            wanted.append(normalize("NFD", space.join(parts[start : start + count])).upper())
    leaks = {
        (str(i), str(j))
        for i, text in enumerate(seen)
        for j, other in enumerate(wanted)
        if space + plain(other) + space in space + plain(text) + space
        and (len(other.split(" ")) if space else len(other)) >= enough
    }
    assert len(leaks) > 30
    tested = {"y": [{"id": str(j), **asked(f"{other}?")} for j, other in enumerate(wanted)]}
    found = find_overlaps({"x": texts(*seen)}, tested)
    assert {(pair.seen_id, pair.tested_id) for pair in found} == leaks


def plain(text: str) -> str:
    return normalize("NFC", text).casefold()


def test_a_short_item_that_is_there_as_a_whole():
    """Of two sets of one file, say: inside other texts it is too short to be looked for."""
    sums = [{"id": str(i), "prompt": f"{i} + 1 =", "response": f" {i + 1}"} for i in range(3)]
    other = {"id": "x", "prompt": "1 + 1 =", "response": " 3"}
    (found,) = find_overlaps({"a/train": [*sums[:2], other]}, {"b/test": sums[1:]})
    assert (found.seen_id, found.tested_id, found.tested_text) == ("1", "1", "1 + 1 =  2")


@pytest.mark.parametrize("letter", "İǰΐΰẖẗὒὔῒΐῗῢΰῧ")
def test_letters_that_lower_case_takes_apart(letter):
    question = {
        "question": f"Who saw {letter}stanbul in the rain",
        "choices": ["x", "y"],
        "answer": 0,
    }
    seen = f"{letter}z {letter} " * 40 + question["question"]
    (found,) = find_overlaps(
        {"a/train": [{"id": "1", "text": seen}]}, {"b/test": [{"id": "2", **question}]}
    )
    assert found.seen_text.endswith(normalize("NFC", question["question"]))


def test_an_overlap_shows_what_was_found_where():
    text = "One. " * 100 + "The Red\nCup fell, nobody saw it. " + "Two. " * 100
    ((pair),) = find_overlaps(
        {"a/train": [{"id": "s", "text": text}]},
        {"b/test": [{"id": "t", **asked("the red cup fell nobody?")}]},
    )
    assert (pair.seen, pair.seen_id, pair.tested, pair.tested_id) == ("a/train", "s", "b/test", "t")
    assert pair.tested_text == "the red cup fell nobody?"
    assert "The Red\nCup fell, nobody saw it." in pair.seen_text
    assert pair.seen_text in text
    assert len(pair.seen_text) < 250


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("Well-known: don't!", ["well", "known", "don", "t"]),
        ("Straße", ["strasse"]),
        ("x_1 ﬂoor² Tea™ ½ \uff15", ["x_1", "floor", "tea", "5"]),
        ("可以用Python写", ["可", "以", "用", "python", "写"]),
        ("2*3 - x, a - b", ["2", "*", "3", "x", "a", "b"]),
        ("हिन्दी में", ["हिन्दी", "में"]),
    ],
)
def test_tokens(text, parts):
    assert tokens(text) == parts
