"""Records of one table: what is compared must have been measured alike."""

import copy

import pytest
from dotted import change
from made_up import made_up_record, made_up_samples

from bench.cells import Cell, dense_cell
from bench.records.comparable import differences

CELLS = {
    "dense": dense_cell("tiny"),
    "none": Cell("tiny", "wanda", "s60", "none", 0),
    "lora": Cell("tiny", "wanda", "s60", "lora", 0),
    "seft": Cell("tiny", "wanda", "s60", "seft", 1),
    "random": Cell("tiny", "wanda", "s60", "seft-random", 1),
    "other": Cell("large", "magnitude", "2of4", "lora", 0),
    "other dense": dense_cell("large"),
}
SETS = {"wiki": "3" * 64, "social_iqa": "4" * 64}


def changed(record: dict, path: str, value) -> dict:
    """A copy with a value at a dotted path; ``...`` removes what is there."""
    return change(copy.deepcopy(record), path, value)


def identified(record: dict) -> dict:
    """A record that names the identities of what it was made from."""
    record = changed(record, "provenance.manifests.sets", SETS)
    for name in SETS:
        record = changed(record, f"config.resolved.evaluation.tasks.{name}.data", name)
    identities = {"calibration": "5" * 64, "blocks": None, "base": "7" * 64}
    if record["cell"]["repair"] != "none":
        identities["blocks"] = "6" * 64
        record = changed(record, "stages.repair.batch_order", "8" * 64)
    return record | {"inputs": {"identities": identities}, "origin": "here"}


@pytest.fixture(scope="module")
def records() -> dict[str, dict]:
    made = {name: made_up_record(cell, made_up_samples(cell, 4, 2)) for name, cell in CELLS.items()}
    return {name: identified(record) for name, record in made.items()}


TASKS = "config.resolved.evaluation.tasks"
IDENTITIES = "inputs.identities"
DIFFERENT = [
    ("seft", "config.resolved.training.steps", 384, "48 in lora"),
    ("other", "config.resolved.training.steps", 384, "48 in lora"),
    ("seft", "config.resolved.calibration.samples", 128, "16 in none"),
    ("lora", "config.resolved.pruning.allocation", "owl", "nothing in none"),
    ("other", "config.resolved.repair.learning_rate", 1.0, "0.001 in lora"),
    ("none", f"{TASKS}.wiki.limit", None, "2 in dense"),
    ("other dense", f"{TASKS}.wiki.limit", None, "2 in dense"),
    ("none", f"{TASKS}.wiki.windows", "disjoint", "nothing in dense"),
    ("none", f"{TASKS}.social_iqa.metric", "acc", '"acc" in dense'),
    ("none", f"{TASKS}.wiki.context_length", 64, "512 in dense"),
    ("none", "provenance.manifests.model", "0" * 64, "1" * 12 + " in dense"),
    ("none", "provenance.manifests.sets.wiki", "0" * 64, "3" * 12 + " in dense"),
    ("other", "provenance.manifests.sets.wiki", "0" * 64, "3" * 12 + " in dense"),
    ("seft", f"{IDENTITIES}.calibration", "0" * 64, "5" * 12 + " in dense"),
    ("seft", f"{IDENTITIES}.base", "0" * 64, "7" * 12 + " in none"),
    ("random", "stages.repair.batch_order", "1" * 64, "8" * 12 + " in seft"),
    ("seft", f"{IDENTITIES}.blocks", "0" * 64, "6" * 12 + " in lora"),
]


@pytest.mark.parametrize(
    ("name", "path", "value", "expected"), DIFFERENT, ids=[f"{n} {p}" for n, p, *_ in DIFFERENT]
)
def test_the_first_key_and_both_records_are_named(records, name, path, value, expected):
    if path.endswith("metric"):
        value, expected = "exact_match", expected.replace('"acc"', json_of(records, path))
    found = list(differences(records | {name: changed(records[name], path, value)}))
    others = [(who, reason) for who, reason in found if who == name]
    assert len(others) == 1
    (_, reason) = others[0]
    # The settings of a method as a whole are absent, or one key of them is.
    assert reason.startswith(path.removesuffix(".allocation"))
    assert reason.endswith(f", but {expected}")


def json_of(records, path: str) -> str:
    node = records["dense"]
    for part in path.split("."):
        node = node[part]
    return f'"{node}"'


ALIKE = [
    ("none", "config.resolved.evaluation.batch_tokens", 4096),
    ("none", "config.resolved.runtime.device", "cuda"),
    ("none", "provenance.cpu", "another"),
    ("none", "provenance.git.commit", "1" * 40),
    ("random", "config.resolved.repair.random", 1),
    # Of sets that this cell does not read, too.
    ("none", "provenance.manifests.data", "0" * 64),
]


@pytest.mark.parametrize(("name", "path", "value"), ALIKE, ids=[f"{n} {p}" for n, p, _ in ALIKE])
def test_what_may_differ(records, name, path, value):
    assert list(differences(records | {name: changed(records[name], path, value)})) == []


def test_another_machine_has_a_base_of_its_own(records):
    elsewhere = changed(records["seft"], "provenance.cpu", "another")
    elsewhere = changed(elsewhere, f"{IDENTITIES}.base", "0" * 64)
    assert list(differences(records | {"seft": elsewhere})) == []


def test_a_task_that_one_record_lacks(records):
    lacking = changed(records["none"], f"{TASKS}.wiki", ...)
    ((name, reason),) = differences(records | {"none": lacking})
    assert (name, reason) == (
        "none",
        f'{TASKS}.wiki = nothing, but {{"context_length": 512}} in dense',
    )
    # A model that takes fewer tokens than the task has is not measured on it, dense or pruned.
    of_model = [name for name, cell in CELLS.items() if cell.model == "large"]
    less = {name: changed(records[name], f"{TASKS}.wiki", ...) for name in of_model}
    assert list(differences(records | less)) == []
    shorter = {
        name: changed(records[name], f"{TASKS}.wiki.context_length", 64) for name in of_model
    }
    assert list(differences(records | shorter)) == []


def test_a_task_that_is_averaged_is_one_of_all_models(records):
    """Else the averages of all models would be missing, of those that lack the task."""
    settings = records["other dense"]["config"]["resolved"]["evaluation"]["tasks"]["winogrande"]
    of_model = [name for name, cell in CELLS.items() if cell.model == "large"]
    more = {name: changed(records[name], f"{TASKS}.extra", settings) for name in of_model}
    found = list(differences(records | more))
    assert found == [(name, f"{TASKS}.extra = {{}}, but nothing in dense") for name in of_model]


def test_records_that_name_no_sets_have_the_same_data(records):
    old = {name: changed(r, "provenance.manifests.sets", ...) for name, r in records.items()}
    assert list(differences(old)) == []
    old["none"] = changed(old["none"], "provenance.manifests.data", "0" * 64)
    ((name, reason),) = differences(old)
    assert (name, reason) == (
        "none",
        f"provenance.manifests.data = {'0' * 12}, but {'2' * 12} in dense",
    )


@pytest.mark.parametrize(
    ("manifests", "key"),
    [({"data": "2" * 64}, "data"), ({"sets": {}}, "sets"), ({"sets": {"wiki": "3" * 64}}, "sets")],
)
def test_data_of_which_nothing_is_known_is_not_the_same(records, manifests, key):
    other = changed(records["lora"], "provenance.manifests", {"model": "1" * 64, **manifests})
    (_, reason), *_ = differences(records | {"lora": other})
    assert reason.startswith(f"provenance.manifests.{key}")
    assert "null" in reason


def test_a_task_of_another_version_is_another_task(records):
    last = [metric["task"] for metric in records["lora"]["metrics"]].index("winogrande") - 1
    other = changed(records["lora"], f"metrics.{last}.version", 2.0)
    found = list(differences(records | {"lora": other}))
    assert found == [("lora", "metrics.social_iqa.version = 2.0, but 1.0 in dense")]
