"""The main job on the embedded model and data."""

import json
import re

import pytest


def items(run, name, split):
    path = run.folder / f"resources/data/{name}/{split}.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()]


def words(text):
    return " ".join(re.findall(r"\w+", text.lower()))


def test_every_row_is_there_and_ok(run):
    table = run.table()
    assert list(table["repair"]) == ["none", "none", "full", "lora", "lora-dense", "seft"]
    assert (table["status"] == "ok").all()


def test_pruning_hurts_and_repair_helps(run):
    perplexity = run.table().set_index(["pruner", "repair"])["wiki_perplexity"]
    dense, none = perplexity["dense", "none"], perplexity["wanda", "none"]
    assert dense < 24
    assert none > 3 * dense
    for repair in ("full", "lora", "lora-dense", "seft"):
        assert dense < perplexity["wanda", repair] < none, repair


def test_achieved_sparsity(run):
    achieved = run.table().set_index(["pruner", "repair"])["sparsity_achieved"]
    assert achieved["dense", "none"] < 0.01
    assert achieved["wanda", "lora-dense"] < 0.01
    for repair in ("none", "full", "lora", "seft"):
        # 345 of 576 and 921 of 1536 inputs of each row.
        assert achieved["wanda", repair] == pytest.approx(0.599, abs=1e-3), repair


def test_equal_budgets(run):
    trained = run.table().dropna(subset="repair_tokens").set_index("repair")
    assert (trained["repair_tokens"] == 12 * 2 * 128).all()
    parameters = trained["trainable_parameters"]
    assert parameters["lora"] == parameters["lora-dense"] == parameters["seft"] == 2_442_240


def test_the_model_is_the_one_that_the_digest_names(run):
    manifest = json.loads((run.folder / "resources/models/smollm2-135m/manifest.json").read_text())
    assert manifest["source"]["sha256"].startswith("bcc81830d10ce7d9")
    config = json.loads((run.folder / "resources/models/smollm2-135m/config.json").read_text())
    assert config["architectures"] == ["LlamaForCausalLM"]
    assert (config["hidden_size"], config["num_hidden_layers"]) == (576, 30)
    assert "quantization_config" not in config


def test_no_evaluation_text_is_in_the_training_text(run):
    training = "\n".join(
        words(json.dumps(item)) for name in ("squad", "qasc") for item in items(run, name, "train")
    )
    seen = {words(item["sentence"]) for item in items(run, "winogrande", "train")}
    tested = items(run, "winogrande", "test")
    assert len(tested) > 1000
    assert not [item["id"] for item in tested if words(item["sentence"]) in seen]
    for name in ("social_iqa", "science"):
        questions = items(run, name, "test")
        assert len(questions) > 200
        assert not [q["id"] for q in questions if words(q["question"]) in training]
    for article in items(run, "wiki", "test"):
        for paragraph in article["text"].split("\n\n"):
            # Some of the text's paragraphs are no more than a mark or a heading.
            if len(words(paragraph).split()) >= 5:
                assert words(paragraph) not in training


def test_options_stand_in_the_text_they_were_read_from(run):
    for item in items(run, "winogrande", "test")[:200]:
        assert item["sentence"].count("_") == 1
        assert all(option.lower() in item["sentence"].lower() for option in item["options"])
        assert item["answer"] in (0, 1)
    for item in items(run, "science", "test"):
        # A few of the four-way questions have three options.
        assert 0 <= item["answer"] < len(item["choices"]) in (3, 4)
