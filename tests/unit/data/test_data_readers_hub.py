"""Readers of the hub's raw files, on tiny files of the same form."""

import gzip
import json
from collections import Counter

import pyarrow
import pyarrow.parquet
import pytest
from lm_eval.tasks.hellaswag.utils import preprocess

from bench.data.forms import DataError
from bench.data.readers import READERS


def read(reader: str, path) -> tuple[list[dict], dict]:
    skipped = Counter()
    items = list(READERS[reader](path, skipped))
    assert all(item.pop("id") for item in items)
    return items, dict(skipped)


@pytest.fixture
def parquet(tmp_path):
    def write(*rows: dict):
        path = tmp_path / "raw.parquet"
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)
        return path

    return write


def pairs(items: list[dict]) -> list[tuple[str, str]]:
    return [(item["prompt"], item["response"]) for item in items]


def test_c4(tmp_path):
    path = tmp_path / "c4-train.00000-of-01024.json.gz"
    rows = [{"text": f" Text {n}\n.", "timestamp": "", "url": ""} for n in range(3)]
    lines = "".join(json.dumps(row) + "\n" for row in [*rows, {"text": "\n"}])
    path.write_bytes(gzip.compress(lines.encode()))
    items, skipped = read("c4", path)
    assert items == [{"text": row["text"]} for row in rows]
    assert skipped == {"empty": 1}


def test_c4_is_read_as_far_as_it_is_wanted(tmp_path):
    path = tmp_path / "c4.json.gz"
    path.write_bytes(gzip.compress(b'{"text": "First."}\nno JSON\n'))
    assert next(READERS["c4"](path, Counter()))["text"] == "First."


WHOLE = gzip.compress(b'{"text": "Text."}\n' * 1000)


@pytest.mark.parametrize(
    "raw",
    [
        WHOLE[:-12],
        WHOLE[:2],
        WHOLE[:40] + b"\xff" * 4 + WHOLE[44:],
        b"no gzip",
        gzip.compress(b"no JSON\n"),
        gzip.compress(b"[" * 100_000),
    ],
    ids=["cut late", "cut early", "overwritten", "no gzip", "no JSON", "deep"],
)
def test_c4_that_broke_off(tmp_path, raw):
    path = tmp_path / "c4.json.gz"
    path.write_bytes(raw)
    with pytest.raises(DataError, match=r"c4\.json\.gz: not gzipped JSON lines: ") as error:
        read("c4", path)
    assert "\n" not in str(error.value)


def test_wikitext_is_one_text(parquet):
    rows = ["", " = Title = \n", "", " A paragraph . \n"]
    items, _ = read("wikitext", parquet(*({"text": row} for row in rows)))
    assert items == [{"text": "\n\n".join(rows)}]


def test_boolq(parquet):
    row = {"passage": "Tin is soft.", "question": "is tin hard", "idx": 0}
    items, skipped = read("boolq", parquet(*({**row, "label": label} for label in (0, 1, -1))))
    prompt = "Tin is soft.\nQuestion: is tin hard?\nAnswer:"
    assert pairs(items) == [(prompt, " no"), (prompt, " yes")]
    assert items[0]["group"] == items[1]["group"]
    assert skipped == {"no answer": 1}


def test_rte(parquet):
    row = {"sentence1": "Tin is soft.", "sentence2": "Tin is hard.", "label": 1, "idx": 0}
    items, _ = read("rte", parquet(row, {**row, "sentence2": "Tin bends.", "label": 0}))
    assert pairs(items) == [
        ("Tin is soft.\nQuestion: Tin is hard. True or False?\nAnswer:", " False"),
        ("Tin is soft.\nQuestion: Tin bends. True or False?\nAnswer:", " True"),
    ]


def test_hellaswag(parquet):
    context = "[header] How to peel [title] Wash it.  [step] Use water."
    row = {
        "activity_label": "Food",
        "ctx_a": context,
        "ctx_b": "the cook",
        "endings": ["eats.", " [substeps] peels  it. [title] Done", "waits.", "sleeps."],
        "label": "1",
    }
    items, skipped = read("hellaswag", parquet(row, {**row, "label": ""}))
    assert pairs(items) == [
        (preprocess(f"Food: {context} The cook"), f" {preprocess(row['endings'][1]).strip()}")
    ]
    assert skipped == {"no answer": 1}
    # Written again with numbers, the first ending has number 0.
    items, skipped = read("hellaswag", parquet({**row, "label": 0}, {**row, "label": -1}))
    assert [response for _, response in pairs(items)] == [" eats."]
    assert skipped == {"no answer": 1}


def test_winogrande(parquet):
    row = {"sentence": "The cup left the box as the _ leaked.", "option1": "cup", "option2": "box"}
    items, skipped = read(
        "winogrande",
        parquet(
            {**row, "answer": "2"},
            {**row, "answer": ""},
            {**row, "sentence": "No blank.", "answer": "1"},
        ),
    )
    assert items == [{"sentence": row["sentence"], "options": ["cup", "box"], "answer": 1}]
    assert skipped == {"no answer": 1, "not one blank": 1}


def test_arc(parquet):
    choices = {"text": ["hot", "cold"], "label": ["1", "2"]}
    row = {"id": "Mercury_1", "question": "Ice is", "choices": choices, "answerKey": "2"}
    items, skipped = read("arc", parquet(row, {**row, "answerKey": "C"}))
    assert pairs(items) == [("Question: Ice is\nAnswer:", " cold")]
    assert skipped == {"no answer": 1}


def test_openbookqa(parquet):
    choices = {"text": ["hot", "cold"], "label": ["A", "B"]}
    row = {"id": "7-980", "question_stem": "Ice is", "choices": choices, "answerKey": "A "}
    items, _ = read("openbookqa", parquet(row))
    assert pairs(items) == [("Ice is", " hot")]


def test_piqa(parquet):
    row = {"goal": "peel it", "sol1": "With a knife. ", "sol2": "With a cup.", "label": 0}
    items, _ = read("piqa", parquet(row))
    assert pairs(items) == [("Question: peel it\nAnswer:", " With a knife.")]


def test_gsm8k(parquet):
    row = {"question": "What is 2 + 3?", "answer": "2 + 3 = <<2+3=5>>5\n#### 5"}
    items, _ = read("gsm8k", parquet(row))
    assert pairs(items) == [("Question: What is 2 + 3?\nAnswer:", f" {row['answer']}")]


def test_alpaca(tmp_path):
    path = tmp_path / "raw.json"
    row = {"instruction": "Add.", "input": "2 and 3", "output": "5"}
    path.write_text(json.dumps([row, {**row, "input": ""}, {**row, "output": ""}]))
    items, skipped = read("alpaca", path)
    assert pairs(items) == [
        ("### Instruction:\nAdd.\n\n### Input:\n2 and 3\n\n### Response:\n", "5"),
        ("### Instruction:\nAdd.\n\n### Response:\n", "5"),
    ]
    assert skipped == {"no answer": 1}


@pytest.mark.parametrize(
    ("reader", "row", "field"),
    [
        ("gsm8k", {"question": None, "answer": "5"}, "question"),
        ("gsm8k", {"question": "a", "answer": None}, "answer"),
        ("boolq", {"passage": "a", "question": "b", "label": None}, "label"),
        ("wikitext", {"text": None}, "text"),
    ],
)
def test_null_is_no_word_of_a_prompt(parquet, reader, row, field):
    with pytest.raises(DataError, match=f"{field} = None: allowed: a value"):
        read(reader, parquet(row))


def test_pages_that_cannot_be_unpacked(parquet):
    path = parquet(*({"question": f"q{i}", "answer": f"a{i}"} for i in range(500)))
    raw = bytearray(path.read_bytes())
    raw[30:400] = bytes(byte ^ 0x5A for byte in raw[30:400])
    path.write_bytes(raw)
    with pytest.raises(DataError, match=r"raw\.parquet: not a Parquet file: "):
        read("gsm8k", path)


def test_not_parquet(tmp_path):
    (tmp_path / "raw.parquet").write_text("<html>\nno</html>")
    with pytest.raises(DataError, match=r"raw\.parquet: not a Parquet file: ") as error:
        read("gsm8k", tmp_path / "raw.parquet")
    assert "\n" not in str(error.value)
