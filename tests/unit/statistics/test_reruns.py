"""What is the same, within, and outside, of a cell that was run again."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from dotted import change
from made_up import made_up_grid

from bench.files import read_json_lines, write_json_lines
from bench.records.record import parse_record, read_records
from bench.statistics.reruns import Scatter, departures, is_same, scatters

CELL = "cells/tiny/wanda-s60/static/seed0"


@pytest.fixture
def folders(tmp_path):
    """The same cells twice."""
    both = tmp_path / "theirs", tmp_path / "ours"
    for folder in both:
        made_up_grid(
            folder,
            models=["tiny"],
            pruners=["wanda"],
            patterns=["s60"],
            repairs=["none", "static", "lora"],
            seeds=[0, 1, 2],
            items=100,
        )
    return both


def compared(folders, known=None):
    paths = [folder / CELL / "record.json" for folder in folders]
    theirs, ours = ((path, parse_record(json.loads(path.read_text()))) for path in paths)
    return list(departures(theirs, ours, known or {}))


def spoiled(folder, path, value):
    file = folder / CELL / "record.json"
    file.write_text(json.dumps(change(json.loads(file.read_text()), path, value)))


def test_the_same_bits_are_the_same(folders):
    theirs, ours = (
        read_records([folder / CELL / "record.json"]).popitem()[1] for folder in folders
    )
    assert is_same(theirs, ours)
    assert compared(folders) == []
    ours["metrics"][0]["value"] += 1e-12
    assert not is_same(theirs, ours)


@pytest.mark.parametrize(
    ("path", "value", "line"),
    [
        ("sparsity.layers", {"model.layers.0.q": 0.5}, "sparsity.layers.model.layers.0.q = 0.5000"),
        ("stages.repair.tokens", 99_999, "stages.repair.tokens = 99999"),
        ("stages.repair.steps", 1, "stages.repair.steps = 1"),
        ("stages.repair.trainable_parameters", 1, "stages.repair.trainable_parameters = 1"),
        ("config.resolved.training.steps", 7, "config.resolved.training.steps"),
        ("config.resolved.evaluation.tasks.wiki.limit", 1, "evaluation.tasks.wiki.limit"),
        ("provenance.manifests.model", "e" * 64, "provenance.manifests.model"),
    ],
)
def test_what_no_machine_changes_must_be_equal(folders, path, value, line):
    spoiled(folders[0], path, value)
    assert any(line in reason for reason in compared(folders))


def test_a_base_need_not_be_the_same_to_the_bit(folders):
    for folder, digest in zip(folders, "ab", strict=True):
        spoiled(folder, "inputs", {"identities": {"base": digest * 64}})
    assert compared(folders) == []


def test_other_items_are_told(folders):
    file = folders[0] / CELL / "samples.jsonl.gz"
    items = read_json_lines(file)
    changed = next(item for item in items if item["task"] == "science")
    changed["id"] = "another"
    write_json_lines(file, items)
    assert "items of science: not those that are scored here" in compared(folders)


def worse(folder, nats):
    """With so many nats a token more, in the results item by item as in the record."""
    file = folder / CELL / "samples.jsonl.gz"
    items = read_json_lines(file)
    for item in items:
        if item["task"] == "wiki":
            item["log_likelihood"] -= nats * item["tokens"]
    write_json_lines(file, items)
    path = folder / CELL / "record.json"
    record = json.loads(path.read_text())
    for entry in record["metrics"]:
        if entry["metric"] == "perplexity":
            entry["value"] *= math.exp(nats)
    path.write_text(json.dumps(record))


# Two seeds differ by less than t(0.995, 4) * sqrt(2) * 0.1 = 0.6511 in 99 of 100 cases.
@pytest.mark.parametrize(
    ("nats", "known", "outside"),
    [
        (0.01, {}, False),  # negligible
        (0.3, {}, True),
        (0.6, {"wiki_perplexity": Scatter(0.1, 4)}, False),
        (0.7, {"wiki_perplexity": Scatter(0.1, 4)}, True),
    ],
)
def test_a_score_may_be_as_far_off_as_another_seeds(folders, nats, known, outside):
    worse(folders[1], nats)
    reasons = compared(folders, known)
    assert [reason.split(" = ")[0] for reason in reasons] == ["wiki_perplexity"] * outside


def test_a_score_that_is_of_no_items_is_compared_as_it_was_recorded(folders):
    def of_all_items(folder, value):
        """Of all answers together, as F1 is."""
        path = folder / CELL / "record.json"
        record = json.loads(path.read_text())
        record["config"]["resolved"]["evaluation"]["tasks"]["science"]["metric"] = "f1"
        entry = next(entry for entry in record["metrics"] if entry["task"] == "science")
        record["metrics"].append({**entry, "metric": "f1", "value": value})
        path.write_text(json.dumps(record))

    of_all_items(folders[0], 0.5)
    of_all_items(folders[1], 0.5)
    assert compared(folders) == []
    spoiled(folders[0], "metrics.-1.value", 0.6)
    assert [reason.split(" = ")[0] for reason in compared(folders)] == ["science", "average"]


def test_the_scatter_is_pooled_over_rows(folders):
    records = read_records(sorted(Path(folders[0]).rglob("record.json")))
    values = {
        repair: [
            math.log(entry["value"])
            for record in records.values()
            for entry in record["metrics"]
            if record["cell"]["repair"] == repair and entry["metric"] == "perplexity"
        ]
        for repair in ("static", "lora")
    }
    known = scatters(list(records.values()))["wiki_perplexity"]
    # The base and the dense model have one seed each and say nothing.
    assert known.freedom == 4
    pooled = np.mean([np.var(found, ddof=1) for found in values.values()])
    assert known.deviation == pytest.approx(math.sqrt(pooled))
    # Student's t for 4 degrees of freedom, from a table.
    assert known.largest == pytest.approx(4.604 * math.sqrt(2) * known.deviation, rel=1e-4)
    # Three seeds of one row are too few to say what is far.
    some = [record for record in records.values() if record["cell"]["repair"] != "lora"]
    assert scatters(some) == {}
