"""Readers on small literal samples, malformed ones included."""

import json
from collections import Counter
from hashlib import blake2b

import pytest

from bench.data.forms import DataError
from bench.data.items import document, identifier
from bench.data.readers import READERS


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


SENTENCE = {"sentence": "The _ fell.", "options": ["cup", "box"], "answer": 1}
QUESTION = {"question": "Who?", "choices": ["I", "you", "she"], "answer": 0}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"prompt": "no response"}', "the fields ['prompt']; allowed: those of one form: text; "),
        ("{}", "the fields []; allowed: "),
        ('{"text": "a", "prompt": "b", "response": "c"}', "allowed: those of one form"),
        ("{", "Expecting property name"),
        ("", "empty: allowed: an item a line"),
        ("[1]", "[1]: allowed: an object"),
        ("3", "3: allowed: an object"),
        ("[" * 100_000, "recursion"),
        ('{"text": "a", "text": "b"}', "text: given twice; allowed: each key once"),
        ({"text": None}, "text = None: allowed: text"),
        ({"text": ["a"]}, "text = ['a']: allowed: text"),
        ({"text": " \n"}, r"text = ' \n': allowed: text that is not empty"),
        ({"text": "half \ud83d emoji"}, r"text = 'half \ud83d emoji': allowed: whole characters"),
        ({"prompt": "x", "response": None}, "response = None: allowed: text"),
        ({"prompt": "x", "response": ""}, "response = '': allowed: text that is not empty"),
        ({"prompt": 1, "response": "x"}, "prompt = 1: allowed: text"),
        ({"text": "a", "group": None}, "group = None: allowed: text or a whole number"),
        ({"text": "a", "group": ""}, "group = '': allowed: text that is not empty"),
        ({"text": "a", "id": 1.5}, "id = 1.5: allowed: text or a whole number"),
        ({"text": "a", "id": True}, "id = True: allowed: text or a whole number"),
        (QUESTION | {"answer": "A"}, "answer = 'A': allowed: a valid integer"),
        (QUESTION | {"answer": "0"}, "answer = '0': allowed: a valid integer"),
        (QUESTION | {"answer": True}, "answer = True: allowed: a valid integer"),
        (QUESTION | {"answer": 1.0}, "answer = 1.0: allowed: a valid integer"),
        (QUESTION | {"answer": None}, "answer = None: allowed: a valid integer"),
        (QUESTION | {"answer": float("nan")}, "answer = nan: allowed: a valid integer"),
        (QUESTION | {"answer": 3}, "answer = 3: allowed: 0 to 2, the place of the right one"),
        (QUESTION | {"answer": -1}, "answer = -1: allowed: 0 to 2, the place of the right one"),
        (QUESTION | {"question": ""}, "question = '': allowed: text that is not empty"),
        (QUESTION | {"choices": "abc"}, "choices = 'abc': allowed: a valid list"),
        (QUESTION | {"choices": ["a"]}, "choices = ['a']: allowed: at least 2 items"),
        (QUESTION | {"choices": ["", "b"]}, "choices.0 = '': allowed: text that is not empty"),
        (QUESTION | {"choices": ["a", 2]}, "choices.1 = 2: allowed: text"),
        (QUESTION | {"choices": ["a", "b ", "b"]}, "choices = ['a', 'b ', 'b']: allowed: each"),
        (SENTENCE | {"sentence": "None."}, "sentence = 'None.': allowed: one blank"),
        (SENTENCE | {"sentence": "A __ fell."}, "sentence = 'A __ fell.': allowed: one blank"),
        (SENTENCE | {"sentence": "It is the _."}, "allowed: words after the blank"),
        (SENTENCE | {"options": ["a", "b", "c"]}, "allowed: at most 2 items"),
        (SENTENCE | {"options": ["a", "a"]}, "options = ['a', 'a']: allowed: each text once"),
        (SENTENCE | {"answer": 2}, "answer = 2: allowed: 0 to 1"),
    ],
    ids=str,
)
def test_jsonl_names_the_line_and_what_is_wrong(tmp_path, line, message):
    line = line if isinstance(line, str) else json.dumps(line)
    with pytest.raises(DataError, match=r"raw\.json, line 2: ") as error:
        read(tmp_path, "jsonl", f'{{"text": "Good."}}\n{line}\n')
    assert message in str(error.value)
    assert len(str(error.value).splitlines()) == 1
    str(error.value).encode()


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        ('{"text": "café"}'.encode("latin-1"), "line 1: byte 14 is b'\\xe9': allowed: UTF-8"),
        ('{"text": "a"}'.encode("utf-16"), "line 1: byte 1 is b'\\xff': allowed: UTF-8"),
    ],
)
def test_jsonl_in_another_encoding(tmp_path, raw, message):
    (tmp_path / "raw.json").write_bytes(raw)
    with pytest.raises(DataError) as error:
        list(READERS["jsonl"](tmp_path / "raw.json", Counter()))
    assert message in str(error.value)


@pytest.mark.parametrize(
    "item",
    [
        {"text": "A whole emoji: \U0001f914, and a line\u2028break."},
        {"prompt": "", "response": " A text without a prompt."},
        QUESTION | {"group": 7, "id": 0},
        SENTENCE,
        {"sentence": "वह _ जाता है", "options": ["घर", "खेत"], "answer": 0},
    ],
    ids=str,
)
def test_jsonl_takes_what_is_well_formed(tmp_path, item):
    ((found,), _) = read(tmp_path, "jsonl", json.dumps(item))
    assert found == {"id": identifier(item)} | item


def test_a_byte_order_mark_and_the_line_ends_of_windows_are_no_text(tmp_path):
    ours = json.dumps(QUESTION) + "\r\n" + json.dumps(QUESTION | {"answer": 2}) + "\r\n"
    items, _ = read(tmp_path, "jsonl", "\ufeff" + ours)
    assert without(items, "id") == [QUESTION, QUESTION | {"answer": 2}]
    squad = {"data": [{"title": "Tin", "paragraphs": [{"context": "Tin is soft."}]}]}
    items, _ = read(tmp_path, "squad", "\ufeff" + json.dumps(squad))
    assert without(items, "id") == [{"group": "Tin", "text": "Tin is soft."}]


def test_readers_of_other_formats_check_their_items_too(tmp_path):
    raw = {"data": [{"title": "Tin", "paragraphs": [{"context": "half \ud83d"}]}]}
    with pytest.raises(DataError, match=r"text = 'half .ud83d': allowed: whole characters"):
        read(tmp_path, "squad", raw)


def test_not_json(tmp_path):
    with pytest.raises(DataError, match=r"raw\.json: not JSON in UTF-8"):
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


def test_identifiers_tell_fields_of_ones_own_apart(tmp_path):
    asked = [QUESTION | {"review": review} for review in ("It broke.", "It held.")]
    items, _ = read(tmp_path, "jsonl", "\n".join(map(json.dumps, [*asked, QUESTION])))
    assert len({item["id"] for item in items}) == 3
    # Those without such fields are what they were before fields of one's own counted.
    text = json.dumps(dict(sorted(QUESTION.items())), ensure_ascii=False)
    assert items[2]["id"] == blake2b(text.encode(), digest_size=8).hexdigest()


def test_documents():
    assert document({"id": "1", "text": "t"}) == ("", "t")
    assert document({"prompt": "p", "response": " r"}) == ("p", " r")
    sentence = {"sentence": "The _ fell.", "options": ["cup", "box"], "answer": 1}
    assert document(sentence) == ("", "The box fell.")
    question = {"question": "Who?", "choices": ["I", "you"], "answer": 0}
    assert document(question) == ("Who?", " I")
    assert document(question | {"prompt": "p", "sentence": "It is _."}) == ("Who?", " I")
