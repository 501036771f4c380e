import json
import math
import random
import socket
import statistics
from random import Random

import lm_eval
import pytest
import torch
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager
from lm_eval.tasks._yaml_loader import load_yaml

from bench.data.forms import DataError
from bench.evaluation import TASKS_FOLDER, TaskSpec, evaluate
from bench.evaluation.harness import load_task, perplexity

TASKS = {
    "social_iqa": TaskSpec(metric="acc_norm", data="social_iqa"),
    "winogrande": TaskSpec(metric="acc", limit=10),
    "science": TaskSpec(metric="acc_norm", limit=9, few_shot=2),
    "wiki": TaskSpec(metric="perplexity", limit=5, context_length=64),
}


def read(path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture(scope="module")
def model(make_model):
    return make_model()


@pytest.fixture(scope="module")
def evaluation(model, tokenizer, files):
    return evaluate(model, tokenizer, TASKS, files, batch_tokens=100)


def value(evaluation, task, metric):
    (row,) = [r for r in evaluation.metrics if (r["task"], r["metric"]) == (task, metric)]
    return row["value"]


@pytest.mark.parametrize("name", TASKS)
def test_same_results_as_lm_eval_alone(
    evaluation, model, tokenizer, files, tmp_path, monkeypatch, name
):
    # It asks the system for its libraries, which takes seconds.
    monkeypatch.setattr("lm_eval.evaluator.add_env_info", lambda results: None)
    data = {"data_files": {"test": str(files[name])}, "cache_dir": str(tmp_path)}
    config = load_yaml(TASKS_FOLDER / f"{name}.yaml") | {"dataset_kwargs": data}
    spec = TASKS[name]
    plain = lm_eval.simple_evaluate(
        HFLM(model, tokenizer=tokenizer, max_length=spec.context_length),
        tasks=[config],
        task_manager=TaskManager(include_defaults=False),
        num_fewshot=spec.few_shot,
        fewshot_random_seed=1234,
        limit=spec.limit,
        bootstrap_iters=10,
    )
    expected = {
        key.removesuffix(",none"): score
        for key, score in plain["results"][name].items()
        if key.endswith(",none")
    }
    rows = {r["metric"]: r for r in evaluation.metrics if r["task"] == name}
    ours = {"perplexity", "answer_bpb"}
    assert set(rows) - ours == {m for m in expected if not m.endswith("_stderr")}
    for metric in set(rows) - ours:
        stderr = expected[f"{metric}_stderr"]
        assert rows[metric]["value"] == pytest.approx(expected[metric], rel=1e-4)
        assert rows[metric]["stderr"] == (None if stderr == "N/A" else pytest.approx(stderr))
        assert rows[metric]["n"] == plain["n-samples"][name]["effective"]
        assert rows[metric]["version"] == plain["versions"][name]
    items = [sample for sample in evaluation.samples if sample["task"] == name]
    for item, sample in zip(items, plain["samples"][name], strict=True):
        assert item["id"] == sample["doc"]["id"]
        if name == "wiki":
            assert item["log_likelihood"] == pytest.approx(sample["resps"][0][0], rel=1e-4)
        else:
            assert {m: item[m] for m in sample["metrics"]} == {
                m: sample[m] for m in sample["metrics"]
            }


def test_perplexity_against_a_loop_over_tokens(evaluation, model, tokenizer, files):
    total, count = 0.0, 0
    for item in read(files["wiki"])[:5]:
        tokens = [tokenizer.bos_token_id, *tokenizer.encode(item["text"])]
        for position in range(1, len(tokens)):
            # Windows of 64: full ones from the start, the last one moved back to be full.
            window = (position - 1) // 64
            end = min((window + 1) * 64, len(tokens) - 1)
            start = max(0, end - 64)
            with torch.no_grad():
                logits = model(torch.tensor([tokens[start:position]])).logits[0, -1]
            total += torch.log_softmax(logits, -1)[tokens[position]].item()
            count += 1
    assert count > 5 * 64  # some texts need a second window
    assert value(evaluation, "wiki", "perplexity") == pytest.approx(
        math.exp(-total / count), rel=1e-4
    )
    (tokens,) = {row["tokens"] for row in evaluation.metrics if row["task"] == "wiki"}
    assert tokens == count == sum(s["tokens"] for s in evaluation.samples if s["task"] == "wiki")


def test_standard_error_of_perplexity_against_leaving_one_out():
    rng = Random(0)
    tokens = [rng.randint(50, 400) for _ in range(300)]
    log_likelihoods = [-k * rng.gauss(3, 0.4) for k in tokens]
    value, stderr = perplexity(log_likelihoods, tokens)
    left_out = [
        perplexity(log_likelihoods[:i] + log_likelihoods[i + 1 :], tokens[:i] + tokens[i + 1 :])[0]
        for i in range(300)
    ]
    mean = sum(left_out) / 300
    jackknife = math.sqrt(299 / 300 * sum((one - mean) ** 2 for one in left_out))
    assert stderr == pytest.approx(jackknife, rel=0.02)
    assert value == pytest.approx(math.exp(3), rel=0.1)


def test_standard_error_of_perplexity_of_equally_long_texts():
    losses = [2.0, 3.5, 2.5, 4.0]
    value, stderr = perplexity([-10 * loss for loss in losses], [10] * 4)
    assert value == pytest.approx(math.exp(3))
    assert stderr == pytest.approx(math.exp(3) * statistics.stdev(losses) / math.sqrt(4))
    assert perplexity([-6.0], [3]) == (pytest.approx(math.exp(2)), None)


def test_rows_say_what_was_measured(evaluation):
    rows = {(row["task"], row["metric"]): row for row in evaluation.metrics}
    assert list(rows) == [
        ("social_iqa", "acc"),
        ("social_iqa", "acc_norm"),
        ("social_iqa", "answer_bpb"),
        ("winogrande", "acc"),
        ("winogrande", "answer_bpb"),
        ("science", "acc"),
        ("science", "acc_norm"),
        ("science", "answer_bpb"),
        ("wiki", "perplexity"),
        ("wiki", "word_perplexity"),
        ("wiki", "byte_perplexity"),
    ]
    fields = ["n", "tokens", "version", "few_shot", "limit", "context_length", "scoring", "data"]
    assert {(row["tasks"], row["revision"]) for row in rows.values()} == {(1, None)}
    found = {key: [row[field] for field in fields] for key, row in rows.items()}
    assert found["social_iqa", "acc"] == [12, None, 1.0, 0, None, 256, "packed", "social_iqa"]
    assert found["science", "acc_norm"] == [9, None, 1.0, 2, 9, 256, "packed", None]
    assert found["wiki", "perplexity"][2:] == [1.0, 0, 5, 64, "packed", None]
    assert json.loads(json.dumps(evaluation.metrics, allow_nan=False)) == evaluation.metrics


def test_the_first_items_in_the_order_of_the_file(evaluation, files):
    expected = [
        (name, item["id"])
        for name, spec in TASKS.items()
        for item in read(files[name])[: spec.limit]
    ]
    assert [(sample["task"], sample["id"]) for sample in evaluation.samples] == expected
    assert json.loads(json.dumps(evaluation.samples, allow_nan=False)) == evaluation.samples


def test_no_random_state_has_a_say_in_the_solved_examples(model, tokenizer, files, evaluation):
    random.seed(7)
    science = {"science": TASKS["science"]}
    again = evaluate(model, tokenizer, science, files, batch_tokens=100)
    assert again.samples == [s for s in evaluation.samples if s["task"] == "science"]


def test_no_network_and_no_cache_of_data(model, tokenizer, files, monkeypatch, tmp_path):
    attempts = []
    monkeypatch.setattr(socket.socket, "connect", lambda *args: attempts.append(args))
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **kwargs: attempts.append(args))
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path)
    evaluate(model, tokenizer, TASKS, files)
    assert attempts == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["social_iqa", "science"])
def test_prompt_of_a_question(tmp_path, name):
    item = {
        "id": "1",
        "question": 'Why "{{so}}"?',
        "choices": ["it's", "a 'b'", "c", "d"],
        "answer": 2,
    }
    assert requests(name, item, tmp_path) == [
        ('Question: Why "{{so}}"?\nAnswer:', f" {choice}") for choice in item["choices"]
    ]


def test_prompt_of_a_sentence_with_a_blank(tmp_path):
    item = {
        "id": "1",
        "sentence": "Ann's \"cup\" is not in the bag, for the _ is 'small'.",
        "options": ["cup", "bag's lock"],
        "answer": 1,
    }
    assert requests("winogrande", item, tmp_path) == [
        ('Ann\'s "cup" is not in the bag, for the cup', " is 'small'."),
        ("Ann's \"cup\" is not in the bag, for the bag's lock", " is 'small'."),
    ]


@pytest.mark.parametrize("words", ["5", "05", "²", "[1,2]", "[note]", "['a']", "{{x}}", "a\\n\"'"])
def test_what_follows_a_blank_is_text_whatever_it_looks_like(tmp_path, words):
    options = ["1", "['b']"]
    item = {"id": "1", "sentence": f"It is _ {words} ", "options": options, "answer": 1}
    assert requests("winogrande", item, tmp_path) == [
        ("It is 1", f" {words}"),
        ("It is ['b']", f" {words}"),
    ]


def test_text_is_scored_as_it_is(tmp_path):
    assert requests("wiki", {"id": "1", "text": " {{a}} \n\n[1]\n"}, tmp_path) == [
        (" {{a}} \n\n[1]\n",)
    ]


def requests(name, item, folder):
    file = folder / "items.jsonl"
    file.write_text(json.dumps(item) + "\n")
    settings = {"wiki": {"metric": "perplexity", "context_length": 64}}.get(name, {"metric": "acc"})
    task = load_task(name, TaskSpec(**settings), file)["tasks"][name]
    task.build_all_requests()
    return [request.args for request in task.instances]


def test_answers_are_compared_with_the_right_one(model, tokenizer, log_likelihood, tmp_path):
    """The option that the model prefers is right when it is the answer, and wrong when not."""
    file = tmp_path / "items.jsonl"
    options = ["key", "old house"]
    items = [
        {"id": str(answer), "sentence": "the cup in the _ is red", "options": options}
        | {"answer": answer}
        for answer in range(2)
    ]
    file.write_text(
        "".join(json.dumps(item | {"answer": i}) + "\n" for i, item in enumerate(items))
    )
    tasks = {"winogrande": TaskSpec(metric="acc")}
    found = evaluate(model, tokenizer, tasks, {"winogrande": file})
    totals = [log_likelihood(model, f"the cup in the {option}", " is red") for option in options]
    right = totals.index(max(totals))
    assert [sample["acc"] for sample in found.samples] == [float(i == right) for i in range(2)]


def test_more_items_than_there_are(files):
    with pytest.raises(DataError, match="task wiki: limit = 7: there are 6 items"):
        load_task("wiki", TASKS["wiki"].model_copy(update={"limit": 7}), files["wiki"])


def test_no_items(tmp_path):
    (tmp_path / "empty.jsonl").touch()
    with pytest.raises(DataError, match=r"task wiki: no items in .*empty\.jsonl"):
        load_task("wiki", TASKS["wiki"], tmp_path / "empty.jsonl")


def test_metric_that_the_task_does_not_have(files):
    with pytest.raises(DataError, match=r"winogrande: metric = 'acc_norm': allowed: acc$"):
        load_task("winogrande", TaskSpec(metric="acc_norm"), files["winogrande"])


def test_too_much_context_is_said_before_anything_is_scored(model, tokenizer, files):
    passes = []
    handle = model.register_forward_hook(lambda *_: passes.append(1))
    tasks = TASKS | {"wiki": TaskSpec(metric="perplexity", context_length=1024)}
    with pytest.raises(DataError, match="context_length = 1024: the model takes at most 256"):
        evaluate(model, tokenizer, tasks, files)
    handle.remove()
    assert passes == []
