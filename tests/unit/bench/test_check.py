"""Records that come from elsewhere: what is wrong is one line each."""

import json
import re
import shutil
import sys

import dotted
import pytest
from made_up import made_up_grid

from bench.files import UnreadableError, read_json, read_json_lines, write_json_lines
from bench.records.record import read_record, read_records, records_below
from bench.records.samples import read_samples
from bench.stages.collect import collect
from bench.tools.check import find_problems, main

SEFT = "cells/tiny/wanda-s60/seft/seed1"
MANIFESTS = {"model": "1" * 64, "sets": {"wiki": "3" * 64}}


@pytest.fixture
def results(tmp_path):
    made_up_grid(tmp_path, pruners=["wanda"], patterns=["s60"], repairs=["none", "lora", "seft"])
    return tmp_path


def change(results, path, value, cell=SEFT):
    """Put a value at a dotted path of a record; ``...`` removes what is there."""
    file = results / cell / "record.json"
    record = dotted.change(read_json(file), path, value)
    file.write_text(json.dumps(record))


def test_whole_records_have_no_problem(results):
    assert list(find_problems(results)) == []


def test_records_that_name_their_sets_need_no_digest_of_all(results):
    for path in sorted(results.rglob("record.json")):
        change(results, "provenance.manifests", MANIFESTS, cell=path.parent.relative_to(results))
    assert list(find_problems(results)) == []


BAD = [
    ("schema_version", 2, ["schema_version = 2"]),
    ("provenance.git", None, ["provenance.git: outside a checkout"]),
    ("provenance.git.dirty", True, ["provenance.git: a working tree with changes"]),
    ("provenance.git.dirty", "no", ["provenance.git.dirty = 'no'"]),
    ("stages.evaluate.seconds", "12", ["stages.evaluate.seconds = '12'"]),
    ("stages.repair.loading_seconds", float("nan"), ["stages.repair.loading_seconds = nan"]),
    ("config.resolved.pruning.damping", [1.0, float("inf")], ["resolved.pruning.damping.1 = inf"]),
    ("metrics.1.tasks", None, ["metrics.1.tasks = None"]),
    ("cell.model", "../../docs", ["cell.model = '../../docs'", "allowed: a name"]),
    ("cell.seed", 2**32, ["cell.seed = 4294967296"]),
    ("cell.budget", None, ["cell.budget = None"]),
    ("provenance.accelerator", ..., ["provenance.accelerator: missing"]),
    ("metrics.0.task", "<b>", ["metrics.0.task = '<b>'"]),
    ("provenance.manifests.data", ..., ["provenance.manifests: missing: sets"]),
    ("provenance.packages.torch", None, ["provenance.packages.torch = None"]),
    ("provenance.cpu", ..., ["provenance.cpu: missing"]),
    ("stages.repair.trainable_parameters", 0, ["trainable_parameters = 0"]),
    ("stages.repair", None, ["stages.repair: missing"]),
    ("stages.evaluate.seconds", -1, ["stages.evaluate.seconds = -1"]),
    ("sparsity.achieved", 0.5, ["sparsity.achieved = 0.5000", "0.6 within"]),
    ("sparsity.achieved", None, ["sparsity.achieved: missing"]),
    ("sparsity.requested", 0.5, ["sparsity.requested = 0.5", "s60 is 0.6"]),
    ("sparsity.layers", {"layers.0.up": 0.2}, ["sparsity.layers.layers.0.up = 0.2000", "0.6000"]),
    ("sparsity.layers", {"q": 0.6}, ["sparsity.layers.q = 0.6000", "no such layer"]),
    ("sparsity.evolution", {"q": [0.6, 1.6]}, ["sparsity.evolution.q.1 = 1.6"]),
    ("config.resolved.repair", 3, ["config.resolved.repair = 3"]),
    ("config.hash", "0" * 64, ["config.hash = 000000000000", "resolved configuration has"]),
    ("cell.repair", "sfet", ["cell.repair = 'sfet'", "seft"]),
    ("cell.pattern", "s600", ["cell.pattern", "'s600'"]),
    ("status", "failed", ["status = 'failed'"]),
    ("samples", 3, ["samples = 3"]),
    ("samples", None, ["samples = None: allowed: the path of its results item by item"]),
    ("cell.machine", "mine", ["cell.machine = 'mine'"]),
    ("config.resolved.evaluation", ..., ["config.resolved.evaluation: missing"]),
    ("config.resolved.evaluation.tasks.wiki.limit", "no", ["tasks.wiki.limit = 'no'"]),
    # What readers show or count with has a type, too.
    ("config.resolved.model", 3, ["config.resolved.model = 3"]),
    ("config.resolved.repair.learning_rate", "x", ["config.resolved.repair.learning_rate = 'x'"]),
    ("config.resolved.training", ..., ["config.resolved: allowed: training and repair"]),
    ("config.resolved.learning_rate_from", 3, ["config.resolved.learning_rate_from = 3"]),
    ("metrics.0.stderr", -1, ["metrics.0.stderr = -1"]),
    ("metrics.0.version", ..., ["metrics.0.version: missing"]),
    ("metrics.0.few_shot", 3, ["metrics.social_iqa.few_shot = 3: allowed: 0"]),
    ("metrics.0.metric", "acc_norm", ["metrics: social_iqa, acc_norm: allowed: once"]),
    ("provenance.accelerator", "H100", ["provenance.accelerator = 'H100'"]),
    ("stages.repair.tokens_per_second", "fast", ["stages.repair.tokens_per_second = 'fast'"]),
    ("stages.evaluate", None, ["stages.evaluate: missing"]),
    ("sparsity.layers", {"layers.0.up": 0.6}, ["layers.0.q_proj = missing: in the base: 0.6"]),
    ("sparsity.achieved", 0.61, ["sparsity.achieved = 0.6100", "0.6000 to 0.6000, as its layers"]),
    ("cell.pattern", "dense", ["cell: pruner = 'wanda': allowed with wanda, seft: dense"]),
    ("inputs", {"base": "x" * 300, "identities": {"base": "0"}}, ["inputs.identities.base = '0'"]),
]


@pytest.mark.parametrize(("path", "value", "said"), BAD, ids=[f"{p}={v}" for p, v, _ in BAD])
def test_a_problem_is_a_line_that_names_the_record_and_what_is_wrong(results, path, value, said):
    change(results, path, value)
    lines = list(find_problems(results))
    assert any(all(part in line for part in said) for line in lines), lines
    assert all("\n" not in line for line in lines)
    assert any(line.startswith(f"{SEFT}/record.json: ") for line in lines)


def test_a_variant_is_checked_as_what_it_is_a_variant_of(tmp_path):
    made_up_grid(tmp_path, pruners=["wanda"], patterns=["s60"], repairs=["none", "seft-random"])
    assert list(find_problems(tmp_path)) == []
    cell = "cells/tiny/wanda-s60/seft-random/seed1"
    change(tmp_path, "sparsity.layers", {"layers.0.up": 0.2}, cell)
    assert any("sparsity.layers.layers.0.up = 0.2000" in line for line in find_problems(tmp_path))
    change(tmp_path, "config.resolved.repair.of", "sfet", cell)
    lines = list(find_problems(tmp_path))
    assert any("config.resolved.repair.of = 'sfet': allowed: none, full" in line for line in lines)


def test_a_changed_configuration_is_found_by_its_hash_and_by_what_differs(results):
    change(results, "config.resolved.training.steps", 4800)
    lines = [line for line in find_problems(results) if "stages.repair.tokens" not in line]
    assert len(lines) == 2
    assert "config.hash" in lines[0]
    assert "config.resolved.training.steps = 4800, but 48 in cells/tiny/wanda-s60/lora" in lines[1]


@pytest.mark.parametrize("value", [1.01, -0.1, None])
def test_values_out_of_range(results, value):
    change(results, "metrics.0.value", value)
    lines = list(find_problems(results))
    assert f"{SEFT}/record.json: metrics.social_iqa.acc = {value}: allowed: 0 to 1" in lines


@pytest.mark.parametrize(
    ("metric", "label"), [("acc", "winogrande"), ("answer_bpb", "winogrande.answer_bpb")]
)
def test_a_value_that_its_items_do_not_give(results, metric, label):
    record = read_json(results / SEFT / "record.json")
    place = [(m["task"], m["metric"]) for m in record["metrics"]].index(("winogrande", metric))
    change(results, f"metrics.{place}.value", 0.999)
    (line,) = find_problems(results)
    assert re.search(rf"metrics\.{label}\.value = 0\.999: its samples give \d\.", line)


@pytest.mark.parametrize(
    ("place", "key", "value", "said"),
    [
        (0, "value", 0.999, r"social_iqa\.acc\.value = 0\.999: its samples give 0\."),
        (2, "n", 9999, r"social_iqa\.answer_bpb\.n = 9999: allowed: \d+$"),
    ],
)
def test_a_score_that_no_table_shows_is_that_of_its_items(results, place, key, value, said):
    change(results, f"metrics.{place}.{key}", value)
    (line,) = find_problems(results)
    assert re.search(said, line)


def test_a_history_that_is_none_is_named(results):
    (results / SEFT / "history.json.gz").write_bytes(b"junk")
    (line,) = find_problems(results)
    assert line.startswith(f"{SEFT}/record.json: history.json.gz: cannot be unpacked")


def test_an_unrepaired_base_has_one_seed(results):
    cell = "cells/tiny/wanda-s60/none/seed0"
    change(results, "cell.seed", 1, cell)
    lines = list(find_problems(results))
    assert any("cell: seed = 1: allowed with wanda, none: 0" in line for line in lines)


def test_paths_that_no_disk_has_are_let_be(results):
    for path in ("x" * 300, "a\0b"):
        change(results, "inputs", {"base": path, "identities": {"base": "0" * 64}})
        assert list(find_problems(results)) == []


def test_a_copy_of_a_cell_is_no_other_seed(results):
    shutil.copytree(results / SEFT, results / SEFT.replace("seed1", "seed7"))
    with pytest.raises(UnreadableError, match=r"seed7/record\.json: cell: it belongs at .*seed1/"):
        collect(read_records(records_below(results)), results)


@pytest.mark.parametrize(
    ("first", "second", "said"),
    [
        ({"id": [1]}, {}, "a line has no task or no id"),
        ({"task": {}}, {}, "a line has no task or no id"),
        # The mean is as it was.
        ({"acc_norm": 5.0}, {"acc_norm": -3.0}, "no acc_norm: ValueError: 5.0 of 1: allowed: 0 to"),
    ],
)
def test_items_that_are_none(results, first, second, said):
    samples(results, lambda rows: [rows[0] | first, rows[1] | second, *rows[2:]])
    assert any(said in line for line in find_problems(results))
    path = results / SEFT / "record.json"
    with pytest.raises(UnreadableError, match=said):
        read_samples(path, read_record(path))


@pytest.mark.parametrize(
    "broken", [{"right": []}, {"right": [2]}, {"bytes": [0, 6]}, {"log_likelihoods": None}]
)
def test_bits_per_byte_that_its_items_do_not_have(results, broken):
    samples(results, lambda rows: [rows[0] | broken, *rows[1:]])
    (line,) = find_problems(results)
    assert "samples of social_iqa: no answer_bpb: " in line


def samples(results, edit, cell=SEFT):
    path = results / cell / "samples.jsonl.gz"
    write_json_lines(path, edit(read_json_lines(path)))


def test_missing_repeated_and_foreign_items(results):
    samples(results, lambda rows: rows[1:])
    lines = list(find_problems(results))
    assert any("samples of social_iqa: 59; allowed: n = 60" in line for line in lines)
    assert any("items of social_iqa: not the same as in cells/tiny/dense" in line for line in lines)
    samples(results, lambda rows: [rows[0], *rows])
    assert any("an id occurs twice" in line for line in find_problems(results))
    samples(results, lambda rows: [{"task": [], "id": 1}, *rows])
    (line,) = find_problems(results)
    assert line.endswith("samples.jsonl.gz: a line has no task or no id")
    (results / SEFT / "samples.jsonl.gz").unlink()
    (line,) = find_problems(results)
    assert "samples.jsonl.gz: No such file or directory" in line


def test_a_seed_that_is_a_copy_of_another(results):
    other = SEFT.replace("seed1", "seed2")
    (results / other / "samples.jsonl.gz").write_bytes(
        (results / SEFT / "samples.jsonl.gz").read_bytes()
    )
    lines = list(find_problems(results))
    assert any(f"the same results as {SEFT}/record.json" in line for line in lines)


def test_a_record_in_the_place_of_another(results):
    change(results, "cell.seed", 7)
    (line,) = find_problems(results)
    assert line == (
        f"{SEFT}/record.json: cell: it belongs at {SEFT.replace('seed1', 'seed7')}/record.json"
    )


def test_what_is_compared_with_must_be_there(results):
    (results / "cells/tiny/dense/record.json").unlink()
    (results / "cells/tiny/wanda-s60/none/seed0/record.json").unlink()
    assert list(find_problems(results)) == [
        "tiny: the dense model has no record",
        "tiny, wanda-s60: the unrepaired base has no record",
    ]


def test_files_that_are_no_records(results):
    path = results / SEFT / "record.json"
    path.write_text("{")
    (line,) = find_problems(results)
    assert line.startswith(f"{SEFT}/record.json: no JSON: ")
    path.unlink()
    path.mkdir()
    assert list(find_problems(results)) == [f"{SEFT}/record.json: Is a directory"]


def test_a_record_is_read_as_it_is_and_is_of_here(results):
    path = results / SEFT / "record.json"
    assert read_record(path) == {**json.loads(path.read_text()), "origin": "here"}


GARBAGE = {
    "nothing": b"",
    "no JSON": b"{",
    "a list": b"[]",
    "no keys": b"{}",
    "a record that is cut": b'{"schema_version": 1, "cell": {"mod',
    "a number": b"7",
    "Latin-1": '{"cell": "caf\xe9"}'.encode("latin-1"),
    "half an emoji": b'{"schema_version": 1, "cell": "\\ud83d"}',
    "deeply nested": b'{"schema_version": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "5,000 digits": b'{"schema_version": ' + b"1" * 5000 + b"}",
    "NaN": b'{"schema_version": NaN}',
    "a number that is a text": b'{"schema_version": "1"}',
    "another version": b'{"schema_version": 2}',
}


@pytest.mark.parametrize("content", GARBAGE.values(), ids=GARBAGE)
def test_whatever_a_file_holds_is_told_in_lines(results, content):
    path = results / SEFT / "record.json"
    path.write_bytes(content)
    lines = list(find_problems(results))
    assert lines
    assert all(line.startswith(f"{SEFT}/record.json: ") and "\n" not in line for line in lines)
    # All readers refuse it, before they use a name of it as a path.
    with pytest.raises(UnreadableError, match=f"{SEFT}/record.json: .+") as refused:
        read_record(path)
    assert "\n" not in str(refused.value)
    assert str(refused.value).endswith(
        "; to run its cell again: snakemake ... --config retry_failed=true"
    )
    assert len(str(refused.value)) < 1000


def test_an_accuracy_is_measured_on_the_same_data(results):
    change(results, "provenance.manifests.data", "3" * 64)
    (line,) = find_problems(results)
    assert "provenance.manifests.data = 333333333333, but 222222222222 in cells/tiny/dense/" in line


def check(folder, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["check", str(folder)])
    main()


def test_the_command_prints_a_line_a_problem_and_exits_with_1(results, monkeypatch, capsys):
    check(results, monkeypatch)
    assert capsys.readouterr().out == f"{results}: 8 records, no problems\n"
    change(results, "sparsity.achieved", 0.5)
    for folder in (results, results / "none"):
        with pytest.raises(SystemExit) as exit_:
            check(folder, monkeypatch)
        assert exit_.value.code == 1
        assert len(capsys.readouterr().out.splitlines()) == 1
