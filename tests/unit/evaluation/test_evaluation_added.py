"""A task of one's own as the docs add one, from its files to its scores."""

import json
import math
import re
import shutil
from pathlib import Path
from statistics import fmean

import pytest
import yaml
from examples import examples
from layers import read_layers
from snakemake.utils import update_config

from bench.config.loading import load
from bench.data.forms import DataError
from bench.data.prepare import prepare
from bench.evaluation import TASKS_FOLDER, TaskSpec, evaluate
from bench.evaluation.harness import load_task
from bench.paths import ROOT
from bench.planning.preflight import find_problems
from bench.sources import fetch

ITEM = {
    "_question_yaml": {"question": "Who?", "choices": ["it", "he"], "answer": 0},
    "winogrande.yaml": {"sentence": "It _ is.", "options": ["it", "he"], "answer": 0},
    "wiki.yaml": {"text": "It is."},
    "prompt": {"prompt": "Who?", "response": "It."},
}


@pytest.fixture
def tasks(tmp_path, monkeypatch):
    """A copy of ``config/tasks`` to add files to, in a folder to work in."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(TASKS_FOLDER, tmp_path / "config/tasks")
    for module in ("tasks", "harness"):
        monkeypatch.setattr(f"bench.evaluation.{module}.TASKS_FOLDER", tmp_path / "config/tasks")
    return tmp_path / "config/tasks"


def configured(text: str):
    values = read_layers()
    update_config(values, yaml.safe_load(text))
    return load(values)


def write_items(path: Path, items: list[dict]) -> Path:
    path.write_text("".join(json.dumps(item) + "\n" for item in items))
    return path


def test_the_example_is_scored_as_by_hand(
    tasks, tmp_path, make_model, tokenizer, log_likelihood, files
):
    shown = examples()
    (line,) = re.findall(r"```json\n(.*?)```", (ROOT / "docs/configuration.md").read_text(), re.S)
    others = [json.loads(line) for line in files["social_iqa"].read_text().splitlines()]
    items = [json.loads(line), *({**item, "id": f"other-{item['id']}"} for item in others)]
    write_items(tmp_path / "quiz.jsonl", items)
    name = "config/tasks/mine.yaml"
    (tmp_path / name).write_text(shown[name])
    config = configured(shown["add-task.yaml"])
    assert not list(find_problems(config))

    spec, resources = config.evaluation.tasks["mine"], tmp_path / "resources"
    fetch(config.sources["quiz"], resources / "sources/quiz")
    prepare("quiz", config.data["quiz"], resources / "sources/quiz", resources / "data/quiz")
    model = make_model()
    data = {"mine": spec.items("mine", resources)}
    found = evaluate(model, tokenizer, {"mine": spec}, data)

    by_question = {item["question"]: item for item in items}
    read = [json.loads(line) for line in data["mine"].read_text().splitlines()]
    assert sorted(by_question) == sorted(item["question"] for item in read)
    expected = {"acc": [], "acc_norm": [], "answer_bpb": []}
    for item in read:
        prompt = f"Question: {item['question']}\nAnswer:"
        right, choices = by_question[item["question"]]["answer"], item["choices"]
        nats = [log_likelihood(model, prompt, f" {choice}") for choice in choices]
        a_character = [nat / len(choice) for nat, choice in zip(nats, choices, strict=True)]
        expected["acc"].append(nats[right] == max(nats))
        expected["acc_norm"].append(a_character[right] == max(a_character))
        expected["answer_bpb"].append(-nats[right] / math.log(2) / len(choices[right].encode()))
    assert {row["metric"]: row["value"] for row in found.metrics} == {
        metric: pytest.approx(fmean(values), abs=1e-4) for metric, values in expected.items()
    }
    assert expected["acc"] != expected["acc_norm"]
    assert {(row["task"], row["data"], row["n"], row["version"]) for row in found.metrics} == {
        ("mine", "quiz", 13, 1.0)
    }


def test_the_tasks_of_lm_eval_in_the_example_are_its(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = configured(examples()["add-own-task.yaml"])
    assert not list(find_problems(config))
    tasks = config.evaluation.tasks
    own = {name for name, task in tasks.items() if task.data is None}
    assert own == {"arc_easy", "gsm8k", "winogrande"}
    assert tasks["winogrande"].limit is None


@pytest.mark.parametrize("include", ["_question_yaml", "winogrande.yaml", "wiki.yaml"])
def test_items_of_another_form_are_refused(tasks, tmp_path, include):
    (tasks / "mine.yaml").write_text(f"task: mine\ninclude: {include}\n")
    settings = {"metric": "acc", "data": "any"}
    if include == "wiki.yaml":
        settings |= {"metric": "perplexity", "context_length": 8}
    for form, item in ITEM.items():
        file = write_items(tmp_path / "items.jsonl", [{"id": "a", **item}])
        if form == include:
            load_task("mine", TaskSpec(**settings), file)
            continue
        with pytest.raises(DataError, match=r"^task mine: ") as error:
            load_task("mine", TaskSpec(**settings), file)
        assert ", ".join(["id", *item]) in str(error.value)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("definition", "said"),
    [
        ("docs_to_text: x", "unexpected keyword argument 'docs_to_text'"),
        ("test_split: dev", "KeyError: 'test'"),
        ("doc_to_text: '{{query}}'", "'query' is undefined"),
        ("doc_to_text: query", "doc_to_text = 'query': allowed: a field"),
        ("group: mine", "unexpected keyword argument 'group'"),
    ],
)
def test_a_definition_that_lm_eval_does_not_take_is_one_line(tasks, tmp_path, definition, said):
    (tasks / "mine.yaml").write_text(f"include: _question_yaml\n{definition}\n")
    file = write_items(tmp_path / "items.jsonl", [{"id": "a", **ITEM["_question_yaml"]}])
    with pytest.raises(DataError, match=r"^task mine: ") as error:
        load_task("mine", TaskSpec(metric="acc", data="any"), file)
    assert said in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "definition",
    [
        "doc_to_text: 'Hint: {{hint}} {{question}}'",
        "doc_to_text: '{% for word in hint.split() %}{{word}} {% endfor %}{{question}}'",
        "doc_to_text: hint",
        "doc_to_choice: '{{[hint] + choices}}'",
        "gen_prefix: '{{hint}}'",
    ],
)
@pytest.mark.parametrize("other", [{}, {"hint": None}])
def test_an_item_without_a_field_that_the_prompt_names(tasks, tmp_path, definition, other):
    (tasks / "mine.yaml").write_text(f"include: _question_yaml\n{definition}\n")
    item, spec = ITEM["_question_yaml"], TaskSpec(metric="acc", data="any")
    items = [{"id": "a", **item, "hint": "It flies."}, {"id": "b", **item} | other]
    file = write_items(tmp_path / "items.jsonl", items)
    with pytest.raises(DataError, match=r"^task mine: item 'b': hint: missing; allowed: a value"):
        load_task("mine", spec, file)
    (tasks / "mine.yaml").write_text("include: _question_yaml\n")
    task = load_task("mine", spec, file)["tasks"]["mine"]
    assert [task.doc_to_text(item) for item in task.eval_docs] == ["Question: Who?\nAnswer:"] * 2


@pytest.mark.parametrize(
    ("shown", "hints", "place"),
    [
        # The template's own default is no value where others have one; and the order is no matter.
        ("{{hint | default('')}}", [{}, {"hint": "It flies."}], "item 'a': hint"),
        ("{{hint.one}}", [{"hint": {"one": "x"}}, {"hint": {}}], "item 'b': hint.one"),
        (
            "{% for word in hint.values() %}{{word}} {% endfor %}",
            [{"hint": {"one": "x"}}, {"hint": {"one": "x", "two": "y"}}],
            "item 'a': hint.two",
        ),
        ("{{hint | join(', ')}}", [{"hint": ["x"]}, {"hint": [None]}], "item 'b': hint[]"),
    ],
)
def test_what_a_prompt_would_have_the_word_none_for(tasks, tmp_path, shown, hints, place):
    (tasks / "mine.yaml").write_text(f"include: _question_yaml\ndoc_to_text: {json.dumps(shown)}\n")
    item, spec = ITEM["_question_yaml"], TaskSpec(metric="acc", data="any")
    items = [{"id": name, **item, **hint} for name, hint in zip("ab", hints, strict=True)]
    file = write_items(tmp_path / "items.jsonl", items)
    said = f"task mine: {place}: missing; allowed: a value in each item, since the task names hint"
    with pytest.raises(DataError, match=f"^{re.escape(said)}$"):
        load_task("mine", spec, file)


def test_items_that_a_function_makes_two_of(tasks, tmp_path):
    (tasks / "twice.py").write_text(
        "from datasets import concatenate_datasets\n\n\n"
        "def twice(items):\n    return concatenate_datasets([items, items])\n"
    )
    (tasks / "mine.yaml").write_text(
        "include: _question_yaml\nprocess_docs: !function twice.twice\n"
    )
    spec = TaskSpec(metric="acc", data="any")
    file = write_items(tmp_path / "items.jsonl", [{"id": "a", **ITEM["_question_yaml"]}])
    with pytest.raises(DataError, match=r"^task mine: 2 items have the id 'a'; allowed: each id"):
        load_task("mine", spec, file)
    # Without ids their places tell them apart.
    write_items(file, [ITEM["_question_yaml"]])
    assert len(load_task("mine", spec, file)["tasks"]["mine"].eval_docs) == 2


@pytest.mark.parametrize("points", [50, -1])
def test_a_metric_that_is_not_between_0_and_1_is_not_shown_as_an_accuracy(
    tasks, tmp_path, make_model, tokenizer, points
):
    (tasks / "scored.py").write_text(
        f"def points(doc, results):\n    return {{'points': {points}}}\n"
    )
    (tasks / "mine.yaml").write_text(
        "include: _question_yaml\nprocess_results: !function scored.points\n"
        "metric_list: [{metric: points, aggregation: mean, higher_is_better: true}]\n"
    )
    file = write_items(tmp_path / "items.jsonl", [{"id": "a", **ITEM["_question_yaml"]}])
    spec = TaskSpec(metric="points", data="any")
    said = rf"^task mine: metric = 'points': is {points}; allowed: one between 0 and 1$"
    with pytest.raises(DataError, match=said):
        evaluate(make_model(), tokenizer, {"mine": spec}, {"mine": file})


def test_the_name_of_the_file_is_the_tasks(tasks, tmp_path, make_model, tokenizer):
    (tasks / "mine.yaml").write_text("task: another\ninclude: _question_yaml\n")
    file = write_items(tmp_path / "items.jsonl", [{"id": "a", **ITEM["_question_yaml"]}])
    spec = TaskSpec(metric="acc", data="any")
    found = evaluate(make_model(), tokenizer, {"mine": spec}, {"mine": file})
    assert {(row["task"], row["version"]) for row in found.metrics} == {("mine", "Yaml")}
