"""Bits per byte of the right answer, against plain logits of `transformers`."""

import json
import math
import statistics

import pytest

from bench.evaluation import TaskSpec, evaluate
from bench.evaluation.answers import answer_bpb, options_of
from bench.evaluation.harness import load_task

ITEMS = {
    "science": [
        {"id": "a", "question": "Why is it red?", "choices": ["the key", "ééé old"], "answer": 1},
        {"id": "b", "question": "Who was in?", "choices": ["bird", "not the cup"], "answer": 0},
    ],
    "winogrande": [
        {"id": "a", "sentence": "the _ is old", "options": ["cup", "red bird"], "answer": 1},
        {"id": "b", "sentence": "not a _ was in it", "options": ["key", "house"], "answer": 0},
        {"id": "c", "sentence": "why the _?", "options": ["bag", "bird"], "answer": 1},
    ],
}
SCORED = {
    "science": lambda item: [
        (f"Question: {item['question']}\nAnswer:", f" {choice}") for choice in item["choices"]
    ],
    "winogrande": lambda item: [
        (before + option, f" {after.strip()}")
        for before, after in [item["sentence"].split("_")]
        for option in item["options"]
    ],
}


@pytest.fixture(scope="module")
def model(make_model):
    return make_model()


@pytest.mark.parametrize("name", ITEMS)
def test_bits_per_byte_of_the_right_answer(name, model, tokenizer, log_likelihood, tmp_path):
    file = tmp_path / "items.jsonl"
    file.write_text("".join(json.dumps(item) + "\n" for item in ITEMS[name]))
    found = evaluate(model, tokenizer, {name: TaskSpec(metric="acc")}, {name: file})
    expected = []
    for item, sample in zip(ITEMS[name], found.samples, strict=True):
        requests = SCORED[name](item)
        totals = [log_likelihood(model, *request) for request in requests]
        assert sample["log_likelihoods"] == pytest.approx(totals, abs=1e-4)
        assert sample["bytes"] == [len(answer[1:].encode()) for _, answer in requests]
        right = item["answer"]
        assert sample["right"] == [right]
        expected.append(-math.log2(math.e) * totals[right] / sample["bytes"][right])
    row = found.metrics[-1]
    assert (row["metric"], row["n"]) == ("answer_bpb", len(expected))
    assert row["value"] == pytest.approx(statistics.mean(expected), abs=1e-4)
    stderr = statistics.stdev(expected) / math.sqrt(len(expected))
    assert row["stderr"] == pytest.approx(stderr, abs=1e-4)


def test_of_several_right_answers_the_best_one_counts():
    item = {"log_likelihoods": [-4.0, -3.0, -0.1], "bytes": [2, 3, 1], "right": [0, 1]}
    assert answer_bpb(item) == pytest.approx(1 / math.log(2))


def test_an_item_without_a_right_option_has_no_answer(tmp_path):
    file = tmp_path / "items.jsonl"
    file.write_text(json.dumps(ITEMS["science"][0]) + "\n")
    task = load_task("science", TaskSpec(metric="acc"), file)["tasks"]["science"]
    sample = {"doc": ITEMS["science"][0], "target": 2, "resps": [], "arguments": []}
    assert options_of(task, sample) == {}
