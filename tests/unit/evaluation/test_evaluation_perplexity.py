"""Perplexity in the windows in which papers publish it."""

import json
import math

import pytest
import torch

from bench.evaluation import TaskSpec, evaluate

TASK = "wikitext2_2048"


@pytest.fixture(scope="module")
def model(make_model):
    return make_model()


@pytest.fixture(scope="module")
def starting(tokenizer):
    """The tokenizer with a start token that it adds itself, as LLaMA's does."""
    from copy import deepcopy

    from tokenizers import processors

    other = deepcopy(tokenizer)
    other.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", tokenizer.bos_token_id)]
    )
    return other


def spec(**settings) -> TaskSpec:
    return TaskSpec(metric="perplexity", data="wikitext2", windows="disjoint", **settings)


@pytest.mark.parametrize("added", [False, True])
def test_as_published(model, tokenizer, starting, files, added):
    tokenizer = starting if added else tokenizer
    found = evaluate(model, tokenizer, {TASK: spec(context_length=32)}, {TASK: files["wiki"]})
    texts = [json.loads(line)["text"] for line in files["wiki"].read_text().splitlines()]
    ids = tokenizer("\n\n".join(texts), return_tensors="pt").input_ids
    assert (ids[0, 0] == tokenizer.bos_token_id) == added
    count = ids.numel() // 32
    losses = []
    for index in range(count):
        window = ids[:, index * 32 : (index + 1) * 32]
        with torch.no_grad():
            logits = model(window).logits
        loss = torch.nn.functional.cross_entropy(logits[0, :-1], window[0, 1:])
        losses.append(loss.float() * 32)
    published = torch.exp(torch.stack(losses).sum() / (count * 32)).item()
    (row,) = found.metrics
    assert row["value"] == pytest.approx(published, rel=1e-4)
    assert (row["metric"], row["n"], row["tokens"]) == ("perplexity", count, count * 31)
    assert (row["context_length"], row["data"], row["version"]) == (32, "wikitext2", 1.0)
    assert [sample["id"] for sample in found.samples] == [str(index) for index in range(count)]
    total = sum(sample["log_likelihood"] for sample in found.samples)
    assert math.exp(-total / (count * 31)) == pytest.approx(row["value"])
    assert row["stderr"] > 0


def test_the_first_windows(model, tokenizer, files):
    every = evaluate(model, tokenizer, {TASK: spec(context_length=32)}, {TASK: files["wiki"]})
    some = evaluate(
        model, tokenizer, {TASK: spec(context_length=32, limit=3)}, {TASK: files["wiki"]}
    )
    assert [s["id"] for s in some.samples] == ["0", "1", "2"]
    for sample, other in zip(some.samples, every.samples, strict=False):
        assert sample["log_likelihood"] == pytest.approx(other["log_likelihood"], rel=1e-5)


def test_too_few_windows(model, tokenizer, files):
    with pytest.raises(
        ValueError, match=r"limit = 99, context_length = 200: the text has .* tokens"
    ):
        evaluate(
            model, tokenizer, {TASK: spec(context_length=200, limit=99)}, {TASK: files["wiki"]}
        )
