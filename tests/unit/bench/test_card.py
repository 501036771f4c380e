"""Model cards: what the hub reads of them, and that every number is the record's."""

import re

import pytest
import yaml
from huggingface_hub import ModelCard
from made_up import made_up_record, made_up_samples

from bench.cells import Cell
from bench.tools.card import model_card

LAYERS = {
    "model.layers.0.self_attn.q_proj": 0.5,
    "model.layers.1.self_attn.q_proj": 0.75,
    "model.layers.0.mlp.up_proj": 0.625,
    "model.layers.1.mlp.up_proj": 0.625,
}
HUB = {
    "source": "hub",
    "repository": "owner/name",
    "revision": "a" * 40,
    "licence": "Apache-2.0",
}


@pytest.fixture
def record():
    cell = Cell("tiny", "wanda", "s60", "seft", 1, "x4")
    record = made_up_record(cell, made_up_samples(cell, items=60, documents=10))
    record["config"]["resolved"]["model"] = HUB
    record["sparsity"] |= {"achieved": 0.59375, "layers": LAYERS}
    record["metrics"] = [
        metric("social_iqa", "acc_norm", 0.4375, 0.0401),
        metric("social_iqa", "answer_bpb", 1.25, 0.03),
        metric("wiki", "perplexity", 61.5, None),
        metric("science", "acc", None, None),
        metric("science", "bleu_max", 20.25, 0.5),
    ]
    return record


def metric(task, name, value, stderr):
    shared = {"n": 150, "few_shot": 0, "version": 1.0, "limit": 150}
    return {"task": task, "metric": name, "value": value, "stderr": stderr, **shared}


def rows(card, first):
    """The cells of the row of a table, or of a line of a list, that begins so."""
    (line,) = re.findall(rf"^(?:\| |- ){re.escape(first)}[ :].*$", card.text, re.MULTILINE)
    return [part.strip() for part in re.split(r"[|]|: ", line.strip("|- "), maxsplit=5)]


def test_a_training_on_another_machine_is_named(record):
    made_on = {"cpu": "other", "accelerator": {"name": "NVIDIA H200"}}
    made_on |= {"dtype": "bfloat16", "threads": 8}
    record["stages"]["repair"] |= {"computed_on": made_on}
    (line,) = re.findall("^- computed on: (.*)$", model_card(record, "dense").text, re.MULTILINE)
    assert line == "NVIDIA H200, bfloat16, evaluated on made up, 1 thread, bfloat16"


def test_what_the_hub_reads(record, tmp_path):
    model_card(record, "dense").save(tmp_path / "README.md")
    text = (tmp_path / "README.md").read_text()
    front = yaml.safe_load(text.split("---\n")[1])
    assert front["license"] == "apache-2.0"
    assert front["base_model"] == "owner/name"
    assert (front["library_name"], front["pipeline_tag"]) == ("transformers", "text-generation")
    assert {"pruning", "sparsity", "wanda", "s60", "seft"} == {*front["tags"]}
    data = ModelCard.load(tmp_path / "README.md").data
    assert data.model_name == "tiny-wanda-s60-seft@x4-seed1"
    found = {(r.dataset_name, r.metric_type): r.metric_value for r in data.eval_results}
    assert found == {
        ("social_iqa", "acc_norm"): 0.4375,
        ("social_iqa", "answer_bpb"): 1.25,
        ("wiki", "perplexity"): 61.5,
        ("science", "bleu_max"): 20.25,
    }
    # Parsed and written again, it is the same.
    assert str(ModelCard(text)) == text


@pytest.mark.parametrize(
    ("stated", "front"),
    [
        ("MIT", {"license": "mit"}),
        ("Gemma Terms of Use", {"license": "other", "license_name": "gemma-terms-of-use"}),
        (None, {"license": "unknown"}),
    ],
)
def test_a_licence_is_named_as_the_hub_names_it(record, stated, front):
    record["config"]["resolved"]["model"] = HUB | {"licence": stated}
    data = model_card(record, "dense").data.to_dict()
    assert {key: value for key, value in data.items() if key.startswith("license")} == front


def test_what_was_done_is_said_in_the_records_numbers(record):
    card = model_card(record, "dense")
    assert rows(card, "its source")[1].startswith("hub, repository owner/name, revision aaaa")
    assert rows(card, "its licence")[1] == "Apache-2.0"
    assert rows(card, "pruner")[1] == "wanda"
    assert rows(card, "pattern")[1] == "s60"
    assert rows(card, "repair")[1] == "seft"
    assert "drop_fraction: 0.2" in card.text
    # 192 steps of 256 tokens.
    assert rows(card, "budget")[1:] == ["x4", "49,152 tokens in 192 steps"]
    assert rows(card, "seed")[1] == "1"
    assert rows(card, "commit of the benchmark")[1] == "0" * 40
    assert rows(card, "versions")[1].startswith("Python 3.11.7, torch 2.13.0")
    assert "0.5938 of all weights of the pruned layers are zero" in card.text
    # Layers, mean, lowest and highest of a kind.
    assert rows(card, "q_proj") == ["q_proj", "2", "0.625", "0.5", "0.75"]
    assert rows(card, "up_proj") == ["up_proj", "2", "0.625", "0.625", "0.625"]


def test_scores_have_their_standard_errors(record):
    text = model_card(record, "dense").text
    found = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in re.findall(r"^\| (?:social_iqa|wiki|science) .*$", text, re.MULTILINE)
    ]
    assert found == [
        ["social_iqa", "acc_norm, %", "43.75 ± 4", "150", "0"],
        ["social_iqa", "answer_bpb", "1.25 ± 0.03", "150", "0"],
        ["wiki", "perplexity", "61.5", "150", "0"],
        ["science", "bleu_max", "20.25 ± 0.5", "150", "0"],
    ]


def test_a_path_on_somebodys_disk_is_not_told(record):
    record["config"]["resolved"]["model"] = {"source": "path", "path": "/home/me/model"}
    card = model_card(record, "dense")
    assert "/home/me" not in str(card)
    assert "base_model" not in card.data.to_dict()


def test_a_base_that_nothing_repaired_has_no_budget():
    cell = Cell("tiny", "sparsegpt", "2of4", "none", 0)
    record = made_up_record(cell, made_up_samples(cell, items=60, documents=10))
    card = model_card(record, "bitmask")
    assert "budget" not in card.text
    assert "none" not in card.data.tags
    assert 'load_bitmask("' in card.text
