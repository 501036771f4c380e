"""Results in the formats of others: what they say of a record, and that their readers take it."""

import gzip
import json
import math
import re
from collections import defaultdict
from datetime import UTC, datetime
from pathlib import Path
from statistics import fmean, stdev

import pytest
import yaml
from huggingface_hub import EvalResultEntry, parse_eval_result_entries
from lm_eval.api.registry import get_aggregation
from lm_eval.loggers.evaluation_tracker import GeneralConfigTracker
from lm_eval.result_schema import EvalResults, SampleResult
from lm_eval.utils import (
    get_file_datetime,
    get_file_task_name,
    get_results_filenames,
    get_sample_results_filenames,
    make_table,
)
from made_up import made_up_grid

from bench.cells import Cell, dense_cell, record_path
from bench.files import write_json, write_json_lines
from bench.tools.export import main
from bench.tools.formats.write import FORMATS, export_results

CELL = Cell("tiny", "wanda", "s60", "lora", 1, "x4")
FAILED = Cell("tiny", "wanda", "s60", "lora", 0, "x4")
NOW = datetime(2026, 11, 27, 10, 30, 5, 250000, tzinfo=UTC)
UUID4 = "[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"
PATH = rf"data/sparse-repair-bench/([^/]+)/([^/]+)/{UUID4}\.json"
# Of lm-eval's own, of which a benchmark of the hub has the data.
GSM8K = {
    "data": None,
    "split": "test",
    "revision": "e" * 40,
    "metric": "exact_match,strict-match",
    "limit": None,
    "few_shot": 5,
}


@pytest.fixture
def results(tmp_path):
    folder = tmp_path / "results"
    grid = {"pruners": ["wanda"], "patterns": ["s60"], "repairs": ["none", "lora"]}
    sizes = {"budgets": ["x4"], "seeds": [0, 1], "items": 12, "documents": 3}
    made_up_grid(folder, **grid, **sizes, failed=[FAILED])
    return folder


def place(results, cell) -> Path:
    return results.parent / record_path(cell)


def changed(results, cell, change) -> None:
    path = place(results, cell)
    record = json.loads(path.read_text())
    change(record)
    write_json(path, record)


def items_of(results, cell) -> dict[str, list[dict]]:
    items = defaultdict(list)
    with gzip.open(place(results, cell).with_name("samples.jsonl.gz"), "rt") as lines:
        for line in lines:
            item = json.loads(line)
            items[item["task"]].append(item)
    return items


def bits_per_byte(item) -> float:
    right = item["right"][0]
    return -item["log_likelihoods"][right] / math.log(2) / item["bytes"][right]


def written(results, form, **said) -> dict[str, str]:
    """The text of each file of an export, by its path."""
    output = results.parent / f"out-{form}-{len(list(results.parent.iterdir()))}"
    count, _ = export_results(results, form, output, NOW, **said)
    files = {p.relative_to(output).as_posix(): p.read_text() for p in output.rglob("*.*")}
    files = {path: text for path, text in files.items() if (output / path).is_file()}
    assert len(files) == count
    return files


def logs(results, **said) -> dict[str, dict]:
    """The logs of Every Eval Ever, by the name of their model; each lies where its id says."""
    found = {}
    for path, text in written(results, "every-eval-ever", **said).items():
        log = json.loads(text)
        owner, model = re.fullmatch(PATH, path).groups()
        assert log["model_info"]["id"] == f"{owner}/{model}"
        found[log["model_info"]["name"]] = log
    return found


def test_a_log_says_what_was_evaluated(results):
    found = logs(results)
    assert found.keys() == {
        "tiny-dense",
        "tiny-wanda-s60-none-seed0",
        "tiny-wanda-s60-lora@x4-seed1",
    }
    log = found["tiny-wanda-s60-lora@x4-seed1"]
    record = json.loads(place(results, CELL).read_text())
    details = log["model_info"]["additional_details"]
    expected = {
        "base_model": "tiny",
        "pruner": "wanda",
        "pattern": "s60",
        "repair": "lora",
        "budget": "x4",
        "seed": "1",
        "sparsity_requested": "0.6",
        "sparsity_achieved": "0.6",
        # Made up: 1,000 a letter of the repair's name; 192 steps of 256 tokens.
        "trainable_parameters": "4000",
        "repair_tokens": "49152",
        "dtype": "bfloat16",
        "config_hash": record["config"]["hash"],
    }
    assert details.items() >= expected.items()
    assert json.loads(details["training_options"]) == {"length": 128, "steps": 192, "batch_size": 2}
    assert log["eval_library"]["name"] == "lm_eval"
    assert log["eval_library"]["version"] == "0.4.13"
    library = log["eval_library"]["additional_details"]
    assert (
        library.items() >= {"torch": "2.13.0", "python": "3.11.7", "suite_commit": "0" * 40}.items()
    )
    assert log["model_info"]["inference_engine"] == {"name": "transformers", "version": "5.23.0"}
    # 27 November 2026, 10:30:05 UTC; nobody says when the evaluation was.
    assert log["retrieved_timestamp"] == "1795775405"
    assert "evaluation_timestamp" not in log


def test_the_scores_of_a_log_are_those_of_the_items(results):
    items = items_of(results, CELL)
    log = logs(results)["tiny-wanda-s60-lora@x4-seed1"]
    found = {one["evaluation_result_id"]: one for one in log["evaluation_results"]}
    tasks = ("social_iqa", "winogrande", "science")
    bits = {task: [bits_per_byte(item) for item in items[task]] for task in tasks}
    loss = -sum(item["log_likelihood"] for item in items["wiki"])
    expected = {
        f"{task}/{m}": fmean(item[m] for item in items[task])
        for task in tasks
        for m in ("acc", "acc_norm")
    }
    expected |= {f"{task}/answer_bpb": fmean(values) for task, values in bits.items()}
    expected |= {"wiki/perplexity": math.exp(loss / sum(item["tokens"] for item in items["wiki"]))}
    scores = {name: one["score_details"]["score"] for name, one in found.items()}
    assert scores == pytest.approx(expected)
    for name, one in found.items():
        task, metric = name.split("/")
        lower = metric in ("answer_bpb", "perplexity")
        config, uncertainty = one["metric_config"], one["score_details"]["uncertainty"]
        assert one["evaluation_name"] == task
        assert one["source_data"]["dataset_name"] == task
        assert config["lower_is_better"] is lower
        bounds = {"perplexity": (1, "Infinity"), "answer_bpb": (0, "Infinity")}.get(metric, (0, 1))
        assert (config["min_score"], config["max_score"]) == bounds
        count = 3 if task == "wiki" else 12
        assert uncertainty["num_samples"] == count
        settings = one["generation_config"]["additional_details"]
        assert settings.items() >= {"limit": str(count), "num_fewshot": "0"}.items()
        if metric == "answer_bpb":
            error = stdev(bits[task]) / math.sqrt(12)
            assert uncertainty["standard_error"]["value"] == pytest.approx(error)
        else:
            # Made up: that of the others is null.
            assert "standard_error" not in uncertainty


def test_a_log_has_nothing_that_the_record_does_not_say(results):
    def forget(record):
        record["provenance"] |= {"git": None, "packages": {"torch": "2.13.0"}}
        (bits,) = (
            e for e in record["metrics"] if (e["task"], e["metric"]) == ("science", "answer_bpb")
        )
        bits["value"] = None
        record["metrics"].append(
            {**record["metrics"][-1], "metric": "word_perplexity", "value": 90.0}
        )
        record["metrics"].append(
            {**record["metrics"][-1], "metric": "f1", "value": 0.5, "limit": None}
        )
        record["metrics"].append(
            {**record["metrics"][-1], "metric": "disamb_bias_score", "value": -0.4}
        )

    changed(results, CELL, forget)
    log = logs(results)["tiny-wanda-s60-lora@x4-seed1"]
    assert "developer" not in log["model_info"]
    assert log["source_metadata"]["source_organization_name"] == "unknown"
    assert log["eval_library"]["version"] == "unknown"
    assert log["eval_library"]["additional_details"].keys().isdisjoint({"suite_commit", "lm-eval"})
    found = {one["evaluation_result_id"]: one for one in log["evaluation_results"]}
    assert "science/answer_bpb" not in found
    # The schema wants a direction, which lm-eval has of a task alone.
    assert "wiki/disamb_bias_score" not in found
    assert found["wiki/word_perplexity"]["metric_config"]["lower_is_better"] is True
    # Without bounds the schema wants no kind of score either.
    assert found["wiki/f1"]["metric_config"] == {"metric_name": "f1", "lower_is_better": False}
    assert found["wiki/f1"]["generation_config"]["additional_details"]["limit"] == "none"


def test_whose_a_model_is(results):
    source = {"source": "hub", "repository": "HuggingFaceTB/SmolLM2-135M", "revision": "a" * 40}
    for cell in (dense_cell("tiny"), CELL):
        changed(results, cell, lambda record: record["config"]["resolved"].update(model=source))
    found = logs(results, organization="my-lab")
    dense, sparse = found["tiny-dense"], found["tiny-wanda-s60-lora@x4-seed1"]
    assert dense["model_info"]["id"] == "HuggingFaceTB/SmolLM2-135M"
    assert dense["model_info"]["developer"] == "HuggingFaceTB"
    assert sparse["model_info"]["id"] == "my-lab/tiny-wanda-s60-lora@x4-seed1"
    assert sparse["model_info"]["developer"] == "my-lab"
    details = sparse["model_info"]["additional_details"]
    assert json.loads(details["base_model_source"]) == source
    relations = [log["source_metadata"]["evaluator_relationship"] for log in (dense, sparse)]
    assert relations == ["other", "first_party"]
    assert sparse["source_metadata"]["source_organization_name"] == "my-lab"


def test_equal_records_have_equal_names_of_files(results):
    first, second = (written(results, "every-eval-ever") for _ in range(2))
    assert first == second
    changed(results, CELL, lambda record: record["provenance"].update(threads=2))
    third = written(results, "every-eval-ever")
    assert len(first.keys() & third.keys()) == 2


def test_lm_eval_reads_what_would_be_its_own_files(results):
    files = written(results, "lm-eval")
    name = "tiny/wanda-s60/lora@x4/seed1"
    tracker = GeneralConfigTracker()
    tracker.log_experiment_args("hf", {"pretrained": name}, None, None, False)
    mine = [path for path in files if path.startswith(f"{tracker.model_name_sanitized}/")]
    (path,) = get_results_filenames(mine)
    found = json.loads(files[path])
    assert found.keys() <= EvalResults.__annotations__.keys()
    assert found["model_name"] == found["config"]["model_args"]["pretrained"] == name
    assert found["config"]["model_args"]["sparsity_achieved"] == 0.6
    assert re.search(r"\|science +\| +1\|none +\| +0\|acc +\|↑ +\|", make_table(found))
    samples = get_sample_results_filenames(mine)
    assert {get_file_task_name(Path(p).name) for p in samples} == found["results"].keys()
    assert {get_file_datetime(p) for p in samples} == {"2026-11-27T10-30-05.250000"}
    assert get_file_datetime(path) == "2026-11-27T10-30-05.250000.json"


def test_samples_for_lm_eval_give_its_results(results):
    files, items = written(results, "lm-eval"), items_of(results, CELL)
    (path,) = (p for p in files if "lora@x4__seed1/results" in p)
    found = json.loads(files[path])
    for task, config in found["configs"].items():
        text = files[path.replace("results_", f"samples_{task}_").replace(".json", ".jsonl")]
        rows = [json.loads(line) for line in text.splitlines()]
        metrics = {metric["metric"]: metric for metric in config["metric_list"]}
        assert metrics.keys() == {"perplexity"} or metrics.keys() == {
            "acc",
            "acc_norm",
            "answer_bpb",
        }
        for name, metric in metrics.items():
            score = get_aggregation(metric["aggregation"])([row[name] for row in rows])
            assert score == pytest.approx(found["results"][task][f"{name},none"])
            assert metric["higher_is_better"] is (name in ("acc", "acc_norm"))
        assert [row["doc"]["id"] for row in rows] == [item["id"] for item in items[task]]
        for row, item in zip(rows, items[task], strict=True):
            assert row.keys() - set(row["metrics"]) <= SampleResult.__annotations__.keys()
            if task == "wiki":
                assert row["filtered_resps"] == [str(item["log_likelihood"])]
            else:
                assert [float(value) for (value,) in row["filtered_resps"]] == item[
                    "log_likelihoods"
                ]
                assert row["target"] == "0"
        assert found["n-samples"][task] == {"effective": len(rows)}


def own_task(results, **settings) -> None:
    """Evaluate one cell on GSM8K alone: two items right of four, one of them strictly."""
    entry = {"task": "gsm8k", "n": 4, "few_shot": 5, "limit": None, "version": 3.0, "stderr": None}
    scores = {"exact_match,strict-match": 0.25, "exact_match,flexible-extract": 0.5}
    right = {"exact_match,strict-match": 1, "exact_match,flexible-extract": 2}

    def change(record):
        record["config"]["resolved"]["evaluation"]["tasks"] = {"gsm8k": GSM8K | settings}
        record["metrics"] = [entry | {"metric": m, "value": v} for m, v in scores.items()]

    changed(results, CELL, change)
    rows = [
        {"task": "gsm8k", "id": str(i), **{m: float(i < count) for m, count in right.items()}}
        for i in range(4)
    ]
    write_json_lines(place(results, CELL).with_name("samples.jsonl.gz"), rows)


def test_a_filter_of_answers_has_its_own_samples(results):
    own_task(results)
    files = written(results, "lm-eval")
    (text,) = (text for path, text in files.items() if "/samples_gsm8k_" in path)
    rows = [json.loads(line) for line in text.splitlines()]
    for kind, right in {"strict-match": 1, "flexible-extract": 2}.items():
        mine = [row["exact_match"] for row in rows if row["filter"] == kind]
        assert mine == [1.0] * right + [0.0] * (4 - right)
    (found,) = (json.loads(t) for p, t in files.items() if "lora@x4__seed1/results" in p)
    assert found["results"]["gsm8k"]["exact_match,flexible-extract"] == 0.5
    assert found["n-samples"]["gsm8k"] == {"original": 4, "effective": 4}
    log = logs(results)["tiny-wanda-s60-lora@x4-seed1"]
    filters = [one["metric_config"]["metric_parameters"] for one in log["evaluation_results"]]
    assert filters == [{"filter": "strict-match"}, {"filter": "flexible-extract"}]


def test_the_score_on_a_benchmark_of_the_hub(results, tmp_path):
    own_task(results)
    output = tmp_path / "out"
    count, left_out = export_results(results, "eval-results", output, NOW)
    assert count == 1
    file = output / "tiny/wanda-s60/lora@x4/seed1/.eval_results/gsm8k.yaml"
    (entry,) = parse_eval_result_entries(yaml.safe_load(file.read_text()))
    assert entry == EvalResultEntry(
        dataset_id="openai/gsm8k",
        task_id="gsm8k",
        value=25.0,
        dataset_revision="e" * 40,
        notes="base_model tiny, pruner wanda, pattern s60, repair lora, budget x4, seed 1, "
        "sparsity_achieved 0.6; exact_match,strict-match, 5-shot; lm-eval 0.4.13",
    )
    # Of the other cells, each reason once.
    science = "task science: data = 'science': none of a benchmark of the hub"
    assert left_out.count(science) == 1
    assert "tiny/wanda-s60/lora@x4/seed0: failed: loss is nan at step 3" in left_out


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"limit": 4}, "limit = 4: a part of the benchmark is not its score"),
        ({"data": "mine"}, "data = 'mine': none of a benchmark of the hub"),
        ({"metric": "f1"}, "no f1"),
    ],
)
def test_what_is_no_score_of_a_benchmark_is_left_out(results, tmp_path, settings, reason):
    own_task(results, **settings)
    with pytest.raises(ValueError, match="nothing that eval-results can say") as error:
        export_results(results, "eval-results", tmp_path / "out", NOW)
    assert f"task gsm8k: {reason}" in str(error.value)
    assert not (tmp_path / "out").exists()


def refusal(monkeypatch, *arguments) -> str:
    monkeypatch.setattr("sys.argv", ["export", *map(str, arguments)])
    with pytest.raises(SystemExit) as exit_:
        main()
    # sys.exit prints a text on stderr and exits with status 1.
    (line,) = exit_.value.code.splitlines()
    return line


@pytest.mark.parametrize("form", ["every-eval-ever", "lm-eval"])
def test_the_command(results, tmp_path, monkeypatch, capsys, form):
    monkeypatch.setattr("sys.argv", ["export", str(results), "--to", form, str(tmp_path / "out")])
    main()
    said = capsys.readouterr()
    count = sum(path.is_file() for path in (tmp_path / "out").rglob("*"))
    assert said.out == f"{tmp_path}/out: {count} files\n"
    assert said.err == "left out: tiny/wanda-s60/lora@x4/seed0: failed: loss is nan at step 3\n"
    assert f"{tmp_path}/out: exists" in refusal(
        monkeypatch, results, tmp_path / "out", "--to", form
    )


def test_what_cannot_be_exported_is_one_line(results, tmp_path, monkeypatch):
    known = ", ".join(FORMATS)
    assert refusal(monkeypatch, results).endswith(f"or all results with --to {known}")
    assert refusal(monkeypatch, results, "--to", "csv") == f"--to csv: allowed: {known}"
    line = refusal(monkeypatch, tmp_path, "--to", "lm-eval")
    assert line == f"{tmp_path}: no records; allowed: a folder with cells/.../record.json"
    line = refusal(monkeypatch, results, "--to", "lm-eval", "--organization", "my-lab")
    assert line == "--organization: lm-eval has no place for it"
    line = refusal(monkeypatch, results, "--to", "every-eval-ever", "--organization", "my/lab")
    assert line.startswith("--organization my/lab: allowed: ")
    # The last record of several, so that others were written before it was read.
    place(results, CELL).with_name("samples.jsonl.gz").write_bytes(b"damaged")
    line = refusal(monkeypatch, results, tmp_path / "out", "--to", "lm-eval")
    assert "samples.jsonl.gz: cannot be unpacked" in line
    assert [path.name for path in tmp_path.iterdir()] == ["results"]
