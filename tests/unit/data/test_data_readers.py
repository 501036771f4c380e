"""Readers on small literal samples, malformed ones included."""

import json
from collections import Counter

import pytest

from bench.data import READERS, DataError
from bench.data.items import document, identifier


def read(tmp_path, reader: str, raw) -> tuple[list[dict], dict]:
    """Items and skipped counts of a raw document, or of literal text."""
    path = tmp_path / "raw.json"
    path.write_text(raw if isinstance(raw, str) else json.dumps(raw), encoding="utf-8")
    skipped = Counter()
    items = list(READERS[reader](path, skipped))
    assert len({item["id"] for item in items}) == len(items)
    return items, dict(skipped)


def without(items: list[dict], *fields: str) -> list[dict]:
    return [{k: v for k, v in item.items() if k not in fields} for item in items]


def examples(*pairs: tuple[str, list[str]]) -> dict:
    return {"examples": [{"input": given, "target": target} for given, target in pairs]}


def test_squad(tmp_path):
    raw = {
        "data": [
            {"title": "Tin", "paragraphs": [{"context": " Tin is soft.\n"}, {"context": " "}]},
            {"title": "Zinc", "paragraphs": [{"context": "Zinc é not.", "qas": []}]},
        ]
    }
    items, skipped = read(tmp_path, "squad", raw)
    assert without(items, "id") == [
        {"group": "Tin", "text": "Tin is soft."},
        {"group": "Zinc", "text": "Zinc é not."},
    ]
    assert skipped == {"empty": 1}


def test_qasc(tmp_path):
    raw = examples(
        ("Fact: rain is wet. \nQuestion: What is wet?", ["rain.", "Rain."]),
        ("Fact: rain is wet. \nQuestion: How is rain?", ["wet."]),
        ("Question: What is wet?", ["rain."]),
        ("Fact: snow is cold. \nQuestion: What is cold?", [" "]),
    )
    items, skipped = read(tmp_path, "qasc", raw)
    assert without(items, "id", "group") == [
        {
            "prompt": "Fact: rain is wet.\nQuestion: What is wet?\nAnswer:",
            "response": " rain.",
        },
        {
            "prompt": "Fact: rain is wet.\nQuestion: How is rain?\nAnswer:",
            "response": " wet.",
        },
    ]
    assert items[0]["group"] == items[1]["group"]
    assert skipped == {"malformed": 2}


def pair(first: str, a: str, second: str, b: str) -> str:
    return f"Sentence 1: {first} \nAnswer1: {a}. \nSentence 2: {second} \nAnswer2: {b}."


def test_winogrande_pairs(tmp_path):
    raw = examples(
        (
            "Context Word: cup.",
            [
                pair("The cup left the box as the _ leaked.", "box", "Cup, box: _ fell.", "cup"),
                pair("The Cup is in a box; _ is big.", "box", "No cup, no box, _ gone.", "cup"),
                pair("Cup or box: the _ .", "box", "Box or cup: the _.", "cup"),
            ],
        ),
    )
    items, skipped = read(tmp_path, "winogrande_pairs", raw)
    assert without(items, "id", "group") == [
        {
            "sentence": "The cup left the box as the _ leaked.",
            "options": ["cup", "box"],
            "answer": 1,
        },
        {"sentence": "Cup, box: _ fell.", "options": ["cup", "box"], "answer": 0},
        {"sentence": "The Cup is in a box; _ is big.", "options": ["cup", "box"], "answer": 1},
        {"sentence": "No cup, no box, _ gone.", "options": ["cup", "box"], "answer": 0},
    ]
    groups = [item["group"] for item in items]
    assert groups[0] == groups[1] != groups[2] == groups[3]
    assert skipped == {"no words after the blank": 2}


def test_winogrande_persons(tmp_path):
    raw = examples(
        (
            "Context Word: rude.",
            ["Sentence 1: PersonY saw PersonX, _ ran. \nSentence 2: PersonX saw PersonY, _ ran."],
        )
    )
    items, skipped = read(tmp_path, "winogrande_pairs", raw)
    assert without(items, "id", "group") == [
        {"sentence": "PersonY saw PersonX, _ ran.", "options": ["PersonY", "PersonX"], "answer": 1},
        {"sentence": "PersonX saw PersonY, _ ran.", "options": ["PersonX", "PersonY"], "answer": 1},
    ]
    assert skipped == {}


def test_winogrande_skips_what_is_malformed(tmp_path):
    good = "The cup left the box as the _ leaked."
    raw = examples(
        ("", [pair("The cup left the box.", "cup", good, "box")]),  # no blank in the first
        ("", [pair("_ cup left the box _.", "cup", "A _ cup is no box.", "box")]),  # two blanks
        ("", [pair(good + " So.", "cup", good + " Then.", "Cup")]),  # equal options
        ("", [pair(good + " Why.", "cups", good + " What.", "box")]),  # cups is not mentioned
        ("", ["The cup left the box."]),
    )
    items, skipped = read(tmp_path, "winogrande_pairs", raw)
    assert [item["sentence"] for item in items] == [good, "A _ cup is no box."]
    assert skipped == {
        "not one blank": 2,
        "equal options": 2,
        "option not in sentence": 2,
        "malformed": 2,
    }


def test_social_iqa(tmp_path):
    raw = {
        "examples": [
            {"input": "Ada fell. How? ", "target_scores": {"hurt": 0, "badly ": 1, "fine": 0}},
            {"input": "Ben fell. How? ", "target_scores": {"hurt": 1, "fine": 0}},
            {"input": "Cleo fell. How?", "target_scores": {"hurt": 1, "fine": 1}},
            {"input": "Dan fell. How?", "target_scores": {"hurt": 0, "fine": 0}},
        ]
    }
    items, skipped = read(tmp_path, "social_iqa", raw)
    assert without(items, "id", "group") == [
        {"question": "Ada fell. How?", "choices": ["hurt", "badly", "fine"], "answer": 1},
        {"question": "Ben fell. How?", "choices": ["hurt", "fine"], "answer": 0},
    ]
    assert skipped == {"not one answer": 2}


def test_science(tmp_path):
    raw = examples(
        ("Question: Ice is  (A) hot. (B) cold. (C) wet (D) a gas?", ["B."]),
        ("Question: When water freezes, its volume  (A) grows (B) shrinks (C) stays (D)?", ["A."]),
        ("Question: How does it change?  (A) It falls.(B) It grows.(C) It stays.?", ["C."]),
        ("Question: Who knows?  (A) x (B) y (C) z (D) w?", ["E."]),
        ("Question: Where are the options?", ["A."]),
        ("Question: Which is missing?  (A) x (C) y (D) z?", ["A."]),
        ("Question: Which is empty?  (A) (B) y (C) z (D) w?", ["B."]),
    )
    items, skipped = read(tmp_path, "science", raw)
    assert without(items, "id", "group") == [
        {"question": "Ice is", "choices": ["hot", "cold", "wet", "a gas"], "answer": 1},
        {
            "question": "When water freezes, its volume",
            "choices": ["grows", "shrinks", "stays"],
            "answer": 0,
        },
        {
            "question": "How does it change?",
            "choices": ["It falls", "It grows", "It stays"],
            "answer": 2,
        },
    ]
    assert skipped == {"answer is not an option": 1, "options not readable": 3}


def test_jsonl_is_taken_as_it_is(tmp_path):
    item = {"id": "mine", "text": "A text.", "extra": [1]}
    items, skipped = read(tmp_path, "jsonl", json.dumps(item) + '\n{"text": "Another."}\n')
    assert items[0] == item
    assert items[1] == {"id": identifier({"text": "Another."}), "text": "Another."}
    assert skipped == {}


@pytest.mark.parametrize(
    "line", ['{"prompt": "no response"}', "{", '{"question": "?", "choices": ["a"]}']
)
def test_jsonl_names_the_line_that_has_no_form(tmp_path, line):
    with pytest.raises(DataError, match=r"raw\.json, line 2: ") as error:
        read(tmp_path, "jsonl", f'{{"text": "Good."}}\n{line}\n')
    assert "\n" not in str(error.value)


def test_not_json(tmp_path):
    with pytest.raises(DataError, match=r"raw\.json: not JSON"):
        read(tmp_path, "squad", "<html>")


def test_identifiers_depend_on_content_alone(tmp_path):
    one = examples(
        ("Fact: a. \nQuestion: b?", ["c."]),
        ("Fact: d. \nQuestion: e?", ["f."]),
    )
    other = {"examples": one["examples"][::-1]}
    first, _ = read(tmp_path, "qasc", one)
    second, _ = read(tmp_path, "qasc", other)
    assert first == second[::-1]


def test_documents():
    assert document({"id": "1", "text": "t"}) == ("", "t")
    assert document({"prompt": "p", "response": " r"}) == ("p", " r")
    sentence = {"sentence": "The _ fell.", "options": ["cup", "box"], "answer": 1}
    assert document(sentence) == ("", "The box fell.")
    question = {"question": "Who?", "choices": ["I", "you"], "answer": 0}
    assert document(question) == ("Who?", " I")
