import json
import shutil
import subprocess
import sys

import pytest
from layers import read_layers
from lm_eval.tasks._yaml_loader import load_yaml
from pydantic import ValidationError

from bench.config.loading import ConfigError, load
from bench.evaluation import TASKS_FOLDER, TaskSpec
from bench.evaluation.harness import load_task
from bench.evaluation.tasks import defined_metrics, definition_files, local_tasks, own_tasks


def test_importing_the_settings_imports_nothing_heavy():
    code = (
        "import sys, bench.evaluation\n"
        "print(sorted({'torch', 'transformers', 'datasets', 'lm_eval'} & set(sys.modules)))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.stdout == "[]\n", result.stderr


def test_defaults():
    assert TaskSpec(metric="acc").model_dump() == {
        "data": None,
        "split": "test",
        "revision": None,
        "metric": "acc",
        "limit": None,
        "few_shot": 0,
        "context_length": None,
        "windows": "rolling",
    }


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"metric": "acc", "shots": 1}, "shots"),
        ({}, "metric"),
        ({"metric": "acc", "limit": 0}, "limit"),
        ({"metric": "acc", "few_shot": -1}, "few_shot"),
        ({"metric": "acc", "context_length": 0}, "context_length"),
        ({"metric": "perplexity"}, "context_length: missing"),
        ({"metric": "perplexity", "context_length": 8, "few_shot": 2}, "few_shot = 2"),
        ({"metric": "acc", "windows": "disjoint"}, "windows = 'disjoint': only of the metric"),
        ({"metric": "acc", "revision": "main"}, "revision"),
        ({"metric": "acc", "data": "x", "revision": "0" * 40}, "only of a task of lm-eval's own"),
    ],
)
def test_settings_that_cannot_be(settings, message):
    with pytest.raises(ValidationError, match=message):
        TaskSpec(**settings)


def test_tasks_folder_holds_the_tasks_of_the_benchmark():
    names = {path.stem for path in TASKS_FOLDER.glob("*.yaml")}
    assert {"social_iqa", "winogrande", "science", "wiki"} <= names


@pytest.mark.parametrize("name", local_tasks())
def test_metrics_are_those_that_lm_eval_finds(name, tmp_path):
    items = [
        {"id": "a", "text": "One.", "sentence": "It _ is.", "question": "Who?", "answer": 0}
        | {"options": ["it", "he"], "choices": ["it", "he"]}
    ]
    (tmp_path / "items.jsonl").write_text("".join(json.dumps(item) + "\n" for item in items))
    spec = TaskSpec(data="any", metric="none of them")
    with pytest.raises(ValueError, match="allowed: ") as error:
        load_task(name, spec, tmp_path / "items.jsonl")
    assert str(error.value).endswith(f"allowed: {', '.join(defined_metrics(name))}")


def test_metrics_of_a_definition_with_functions_filters_and_includes(tmp_path, monkeypatch):
    monkeypatch.setattr("bench.evaluation.tasks.TASKS_FOLDER", tmp_path)
    (tmp_path / "_base").write_text("metric_list: [{metric: f1}]\noutput_type: generate_until\n")
    (tmp_path / "one.yaml").write_text("include: _base\ndoc_to_text: !function one.text\n")
    (tmp_path / "two.yaml").write_text("include: [one.yaml]\nfilter_list: [{name: a}, {name: b}]\n")
    (tmp_path / "three.yaml").write_text("task: three\n")
    assert defined_metrics("one") == ["f1"]
    assert defined_metrics("two") == ["f1,a", "f1,b"]
    assert defined_metrics("three") is None


def test_a_metric_that_is_a_function_has_its_name(tmp_path, monkeypatch):
    monkeypatch.setattr("bench.evaluation.tasks.TASKS_FOLDER", tmp_path)
    (tmp_path / "one.yaml").write_text(
        "metric_list: [{metric: !function of.mine.best, higher_is_better: true}]\n"
    )
    assert defined_metrics("one") == ["best"]


def test_metrics_that_tables_can_show_are_between_0_and_1_and_the_more_the_better(
    tmp_path, monkeypatch
):
    monkeypatch.setattr("bench.evaluation.tasks.TASKS_FOLDER", tmp_path)
    listed = [
        "acc",
        "brier_score",
        "mcc",
        "f1",
        "{metric: !function my.loss, higher_is_better: false}",
    ]
    listed += ["{metric: !function my.share, higher_is_better: true}", "bleu"]
    metrics = ", ".join(one if one.startswith("{") else f"{{metric: {one}}}" for one in listed)
    (tmp_path / "one.yaml").write_text(f"metric_list: [{metrics}]\n")
    assert defined_metrics("one") == ["acc", "f1", "share"]
    text = "include: one.yaml\noutput_type: loglikelihood_rolling\n"
    (tmp_path / "two.yaml").write_text(text)
    assert defined_metrics("two") == ["perplexity"]


def test_what_a_definition_is_made_of(tmp_path, monkeypatch):
    names = [path.name for path in definition_files("wikitext2_2048")]
    assert names == ["wiki.yaml", "wikitext2_2048.yaml"]
    monkeypatch.setattr("bench.evaluation.tasks.TASKS_FOLDER", tmp_path)
    for name, text in {
        "_base": "output_type: multiple_choice\n",
        "_more": "include: _base\n",
        "mine.yaml": "include: [_more]\ndoc_to_text: !function prompts.ask\n",
        "other.yaml": "include: _base\n",
        "prompts.py": "def ask(item): return item['question']\n",
    }.items():
        (tmp_path / name).write_text(text)
    names = {path.name for path in definition_files("mine")}
    assert names == {"_base", "_more", "mine.yaml", "prompts.py"}
    assert [path.name for path in definition_files("other")] == ["_base", "other.yaml"]


@pytest.mark.parametrize(
    ("definition", "said"),
    [
        ("", "mine.yaml: holds nothing; allowed: keys and their values"),
        ("- task: mine\n", "mine.yaml: holds a list; allowed: keys and their values"),
        ("task: [mine\n", "mine.yaml: while parsing a flow sequence"),
        ("task: a\ntask: b\n", "mine.yaml: line 2: task: given twice"),
        ("include: nowhere\n", "nowhere: No such file"),
        ("include: ../nowhere\n", "mine.yaml: include = '../nowhere': "),
        ("include: mine.yaml\n", "mine.yaml: include = 'mine.yaml': allowed: each file once"),
        ("include: [wiki.yaml, wiki.yaml]\n", "include = 'wiki.yaml': allowed: each file once"),
        ("metric_list: acc\n", "mine.yaml: metric_list = 'acc': "),
        ("metric_list: [acc]\n", "mine.yaml: metric_list.0 = 'acc': "),
    ],
)
def test_a_definition_that_cannot_be_read_is_one_line(tmp_path, monkeypatch, definition, said):
    shutil.copytree(TASKS_FOLDER, tmp_path / "tasks")
    monkeypatch.setattr("bench.evaluation.tasks.TASKS_FOLDER", tmp_path / "tasks")
    (tmp_path / "tasks/mine.yaml").write_text(definition)
    values = read_layers()
    values["evaluation"]["tasks"]["mine"] = {"data": "science", "metric": "acc"}
    with pytest.raises(ConfigError) as error:
        load(values)
    (line,) = str(error.value).splitlines()
    assert line.startswith("config: evaluation.tasks.mine: ")
    assert said in line


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("arc_easy", True),
        ("mmlu", True),
        # Its file has the key in quotes.
        ("aclue_poetry_appreciate", True),
        # A tag, and tasks of our own.
        ("ai2_arc", False),
        ("science", False),
        ("wiki", False),
    ],
)
def test_what_lm_eval_defines(name, found):
    assert (name in own_tasks()) == found


def test_of_two_definitions_that_are_included_lm_eval_has_the_metrics(tmp_path, monkeypatch):
    monkeypatch.setattr("bench.evaluation.tasks.TASKS_FOLDER", tmp_path)
    for name in ("f1", "acc"):
        (tmp_path / name).write_text(f"metric_list: [{{metric: {name}}}]\n")
    (tmp_path / "both.yaml").write_text("include: [f1, acc]\n")
    metrics = load_yaml(tmp_path / "both.yaml")["metric_list"]
    assert defined_metrics("both") == [entry["metric"] for entry in metrics]
