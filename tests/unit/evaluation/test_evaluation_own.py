"""Tasks and groups of lm-eval's own, out of a small registry and out of lm-eval's."""

import json
import math
import statistics
from pathlib import Path

import datasets
import lm_eval
import pyarrow
import pytest
from hub_stand_in import REVISION, Hub
from huggingface_hub import constants
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager
from lm_eval.tasks._yaml_loader import load_yaml
from pyarrow.parquet import write_table

from bench.evaluation import TASKS_FOLDER, TaskSpec, evaluate
from bench.evaluation.harness import load_task, own_facts
from bench.evaluation.own import LmEvalSource
from bench.evaluation.tasks import FACTS
from bench.files import write_json
from bench.origin import verify
from bench.sources import SourceError, fetch

ANSWERS = {
    "output_type": "generate_until",
    "doc_to_text": "{{question}}",
    "doc_to_choice": None,
    "doc_to_target": "the",
    "generation_kwargs": {"until": ["key"], "max_gen_toks": 8, "do_sample": False},
    "metric_list": [{"metric": "exact_match", "aggregation": "mean", "higher_is_better": True}],
    "filter_list": [
        {
            "name": "word",
            "filter": [
                {"function": "regex", "regex_pattern": "(the|a|cup)"},
                {"function": "take_first"},
            ],
        },
        {"name": "whole", "filter": [{"function": "take_first"}]},
    ],
}


# As lm-eval's LAMBADA, whose perplexity is none of a text.
LAST_WORD = {
    "output_type": "loglikelihood",
    "doc_to_choice": None,
    "doc_to_target": " {{question}}",
    "metric_list": [
        {"metric": "perplexity", "aggregation": "perplexity", "higher_is_better": False},
        {"metric": "acc", "aggregation": "mean", "higher_is_better": True},
    ],
}


@pytest.fixture(scope="module")
def model(make_model):
    return make_model()


@pytest.fixture
def registry(files, tmp_path, monkeypatch):
    """A small one in the place of lm-eval's own tasks; two of them are a group."""
    question = load_yaml(TASKS_FOLDER / "science.yaml")
    few = tmp_path / "few.jsonl"
    few.write_text("".join(files["social_iqa"].read_text().splitlines(keepends=True)[:7]))
    tasks = {
        "arc": question | {"num_fewshot": 5, "tag": "exams"},
        "openbook": question | {"tag": "exams"},
        "answers": question | ANSWERS,
        # Called like one of config/tasks.
        "winogrande": question,
        "bets": question | {"metric_list": [{"metric": m} for m in ("acc", "brier_score", "mcc")]},
        "lambada": question | LAST_WORD,
        "texts": load_yaml(TASKS_FOLDER / "wiki.yaml") | {"doc_to_target": "question"},
    }
    for name, task in tasks.items():
        data = {"test": str(few if name == "openbook" else files["science"])}
        kwargs = {"data_files": data, "cache_dir": str(tmp_path / "cache")}
        text = json.dumps(task | {"task": name, "dataset_kwargs": kwargs})
        (tmp_path / f"{name}.yaml").write_text(text)
    for name, weighted in {"school": True, "unweighted": False}.items():
        aggregate = {"metric": "acc", "weight_by_size": weighted}
        group = {"group": name, "task": ["arc", "openbook"], "metadata": {"version": 3}}
        text = json.dumps(group | {"aggregate_metric_list": [aggregate]})
        (tmp_path / f"{name}.yaml").write_text(text)
    (tmp_path / "program.yaml").write_text("task: program\nclass: !function program.Program\n")
    (tmp_path / "program.py").write_text(
        "from lm_eval.api.task import ConfigurableTask as Program\n"
    )
    manager = TaskManager(include_path=tmp_path, include_defaults=False)
    monkeypatch.setattr("bench.evaluation.own._registry", lambda: manager)
    # It asks the system for its libraries, which takes seconds.
    monkeypatch.setattr("lm_eval.evaluator.add_env_info", lambda results: None)
    return manager


@pytest.fixture
def fetched(registry, tmp_path):
    def fetch_one(name: str) -> Path:
        fetch(LmEvalSource(task=name), tmp_path / "tasks" / name)
        return tmp_path / "tasks" / name

    return fetch_one


def test_data_are_fetched_once(fetched, tmp_path, monkeypatch):
    folder = fetched("school")
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["source"]["task"] == "school"
    assert set(manifest["files"]) == {"arc/test.parquet", "openbook/test.parquet"}
    monkeypatch.setattr(datasets, "load_dataset", None)
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    loaded = load_task("school", TaskSpec(metric="acc"), folder)
    assert {name: len(task.eval_docs) for name, task in loaded["tasks"].items()} == {
        "arc": 12,
        "openbook": 7,
    }
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before


def test_of_two_tasks_of_one_name_the_data_decide(fetched, files):
    prompts = {}
    for whose, data in {"ours": files["winogrande"], "its": fetched("winogrande")}.items():
        task = load_task("winogrande", TaskSpec(metric="acc"), data)["tasks"]["winogrande"]
        task.build_all_requests(limit=1)
        prompts[whose], _ = task.instances[0].args
    sentence = json.loads(files["winogrande"].read_text().splitlines()[0])["sentence"]
    question = json.loads(files["science"].read_text().splitlines()[0])["question"]
    assert prompts["ours"] == sentence.partition("_")[0] + "cup"
    assert prompts["its"] == f"Question: {question}\nAnswer:"


@pytest.mark.parametrize(
    ("name", "metrics", "items"),
    [
        ("arc", ["acc", "acc_norm"], 12),
        ("school", ["acc"], 7),
        ("unweighted", [], 7),
        ("answers", ["exact_match,word", "exact_match,whole"], 12),
        ("bets", ["acc"], 12),
        ("lambada", ["acc"], 12),
        ("texts", ["perplexity"], 12),
    ],
)
def test_what_a_configuration_can_ask_of_a_task(fetched, name, metrics, items):
    folder = fetched(name)
    facts = own_facts(name, folder)
    assert facts == {"metrics": metrics, "items": items}
    # They are kept beside the data, which stay what was fetched.
    write_json(folder / FACTS, facts)
    verify(folder, whole=True)


def test_task_of_lm_eval(fetched, model, tokenizer, files):
    spec = TaskSpec(metric="acc_norm", limit=9, few_shot=2)
    own = evaluate(model, tokenizer, {"arc": spec}, {"arc": fetched("arc")}, batch_tokens=100)
    local = evaluate(
        model, tokenizer, {"science": spec}, {"science": files["science"]}, batch_tokens=100
    )
    assert own.metrics == [row | {"task": "arc"} for row in local.metrics]
    assert [sample["id"] for sample in own.samples] == [str(number) for number in range(9)]
    assert [s["acc_norm"] for s in own.samples] == [s["acc_norm"] for s in local.samples]


def test_group_of_tasks(fetched, registry, model, tokenizer, log_likelihood):
    spec = TaskSpec(metric="acc", few_shot=1)
    found = evaluate(
        model, tokenizer, {"school": spec}, {"school": fetched("school")}, batch_tokens=100
    )
    plain = lm_eval.simple_evaluate(
        HFLM(model, tokenizer=tokenizer),
        tasks=["school"],
        task_manager=registry,
        num_fewshot=1,
        fewshot_random_seed=1234,
        bootstrap_iters=10,
    )
    row, answers = found.metrics
    assert row["value"] == pytest.approx(plain["results"]["school"]["acc,none"])
    assert row["stderr"] == pytest.approx(plain["results"]["school"]["acc_stderr,none"])
    assert (row["n"], row["tasks"], row["version"], row["few_shot"]) == (19, 2, "3", 1)
    scores = [sample["acc"] for sample in found.samples]
    assert row["value"] == pytest.approx(sum(scores) / 19)
    assert scores == [s["acc"] for name in ("arc", "openbook") for s in plain["samples"][name]]
    bits = []
    for sample in plain["samples"]["arc"] + plain["samples"]["openbook"]:
        context, answer = sample["arguments"][sample["target"]]
        nats = -log_likelihood(model, context, answer)
        bits.append(nats / math.log(2) / len(answer.strip().encode()))
    assert answers == row | {
        "metric": "answer_bpb",
        "value": pytest.approx(sum(bits) / 19, abs=1e-4),
        "stderr": pytest.approx(statistics.stdev(bits) / math.sqrt(19), abs=1e-4),
    }
    ids = [f"arc/{n}" for n in range(12)] + [f"openbook/{n}" for n in range(7)]
    assert [sample["id"] for sample in found.samples] == ids


def test_limit_of_a_group_is_of_each_task(fetched, model, tokenizer):
    folder = {"school": fetched("school")}
    found = evaluate(model, tokenizer, {"school": TaskSpec(metric="acc", limit=3)}, folder)
    assert {(row["n"], row["tasks"], row["limit"]) for row in found.metrics} == {(6, 2, 3)}
    with pytest.raises(ValueError, match="task openbook: limit = 8: there are 7 items"):
        load_task("school", TaskSpec(metric="acc", limit=8), folder["school"])


def test_group_that_is_no_average_over_items(fetched):
    with pytest.raises(ValueError, match="task unweighted: metric = 'acc': allowed: none"):
        load_task("unweighted", TaskSpec(metric="acc"), fetched("unweighted"))


def test_a_perplexity_that_is_none_of_a_text_is_not_shown(fetched):
    spec = TaskSpec(metric="perplexity", context_length=8)
    with pytest.raises(ValueError, match=r"^task lambada: metric = 'perplexity': allowed: acc$"):
        load_task("lambada", spec, fetched("lambada"))


def test_answers_that_are_generated_and_filtered(fetched, registry, model, tokenizer):
    spec = TaskSpec(metric="exact_match,word")
    folder = {"answers": fetched("answers")}
    found = evaluate(model, tokenizer, {"answers": spec}, folder, batch_tokens=100)
    plain = lm_eval.simple_evaluate(
        HFLM(model, tokenizer=tokenizer),
        tasks=["answers"],
        task_manager=registry,
        bootstrap_iters=10,
    )
    assert [row["metric"] for row in found.metrics] == ["exact_match,word", "exact_match,whole"]
    for row in found.metrics:
        assert row["value"] == plain["results"]["answers"][row["metric"]]
        assert row["n"] == 12
        scores = [sample[row["metric"]] for sample in found.samples]
        assert sum(scores) / 12 == pytest.approx(row["value"])
        kind = row["metric"].partition(",")[2]
        assert scores == [
            sample["exact_match"]
            for sample in plain["samples"]["answers"]
            if sample["filter"] == kind
        ]
    with pytest.raises(
        ValueError, match="'exact_match': allowed: exact_match,word, exact_match,whole"
    ):
        load_task("answers", TaskSpec(metric="exact_match"), folder["answers"])


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """The data of the task `quiz` on a stand-in of the hub."""
    rows = [{"question": "Who?", "choices": ["it", "the cup"], "answer": n % 2} for n in range(4)]
    write_table(pyarrow.Table.from_pylist(rows), tmp_path / "test.parquet")
    task = load_yaml(TASKS_FOLDER / "science.yaml")
    for name in ("quiz", "closed", "none"):
        text = json.dumps(task | {"task": name, "dataset_path": f"somebody/{name}"})
        (tmp_path / f"{name}.yaml").write_text(text)
    manager = TaskManager(include_path=tmp_path, include_defaults=False)
    monkeypatch.setattr("bench.evaluation.own._registry", lambda: manager)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    files = {"data/test-0.parquet": (tmp_path / "test.parquet").read_bytes()}
    hub = Hub({"somebody/quiz": files, "somebody/closed": files | {"README.md": b""}})
    hub.gated = {"somebody/closed"}
    with hub.serving(monkeypatch, tmp_path / "hub"):
        monkeypatch.setattr(datasets.config, "HF_ENDPOINT", constants.ENDPOINT)
        yield hub


def test_data_of_the_hub_are_those_of_one_commit(hub, tmp_path, monkeypatch):
    folder = tmp_path / "out" / "quiz"
    manifest = fetch(LmEvalSource(task="quiz", revision=REVISION), folder)
    assert manifest["source"]["revision"] == REVISION
    assert fetch(LmEvalSource(task="quiz", revision=REVISION), tmp_path / "again") == manifest
    assert [name for name, _ in hub.downloads] == ["data/test-0.parquet"]
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    task = load_task("quiz", TaskSpec(metric="acc"), folder)["tasks"]["quiz"]
    assert [item["answer"] for item in task.eval_docs] == [0, 1, 0, 1]


@pytest.mark.parametrize(
    ("task", "revision", "said"),
    [
        ("quiz", "f" * 40, "doesn't exist for dataset 'somebody/quiz'"),
        ("closed", REVISION, "'somebody/closed' is a gated dataset"),
        ("none", REVISION, "'somebody/none' doesn't exist on the Hub or cannot be accessed"),
    ],
)
def test_data_that_the_hub_does_not_give(hub, tmp_path, task, revision, said):
    with pytest.raises(
        SourceError, match=f"^data of lm-eval's task {task} at {revision}: .*{said}"
    ):
        fetch(LmEvalSource(task=task, revision=revision), tmp_path / "out" / task)
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("x", "unknown task 'x': none of lm-eval's; those of config/tasks need data: .*wiki"),
        ("exams", "task exams: is a tag of 2 tasks; name them one by one: arc, openbook"),
        ("program", "task program: is a program; allowed: tasks that lm-eval defines"),
    ],
)
def test_what_is_no_task(registry, tmp_path, name, said):
    with pytest.raises(SourceError, match=f"data of lm-eval's task {name} .*{said}") as error:
        fetch(LmEvalSource(task=name), tmp_path / "out")
    assert "\n" not in str(error.value)
    assert not (tmp_path / "out").exists()
