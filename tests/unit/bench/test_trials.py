"""Trials of the sweep say what they were made from; what is not what is asked is one line."""

import json
import shutil
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from cells_on_disk import PACKING, TOKENS, Workspace
from origins import blocks

from bench.cells import Cell
from bench.files import UnreadableError, read_json, write_json
from bench.origin import OriginError, identity, mark
from bench.stages.repair import try_learning_rate
from bench.stages.tuning import read_trials
from bench.training.tuning import tuning_table

VALIDATION = "resources/validation.safetensors"
CELLS = [Cell("tiny", "wanda", "s60", name, 0) for name in ("lora", "full")]
LORA, FULL = (f"results/tuning/tiny/wanda-s60/{cell.repair}/lr0.01.json" for cell in CELLS)


def job_of(workspace, cell, output):
    job = workspace.training(cell)
    packing = job.config["packing"] | {"validation": PACKING}
    return replace(job, config=job.config | {"packing": packing}, output=output)


@pytest.fixture(scope="module")
def swept(tmp_path_factory, dense):
    """A working folder with two trials, and what was asked of each."""
    folder = tmp_path_factory.mktemp("swept")
    with pytest.MonkeyPatch.context() as patch:
        workspace = Workspace(folder, dense, patch)
        workspace.base("wanda")
        blocks(VALIDATION, TOKENS, TOKENS.clone(), workspace.model, PACKING, {"x": "0" * 64})
        asked = {}
        for cell, output in zip(CELLS, (LORA, FULL), strict=True):
            job = job_of(workspace, cell, output)
            try_learning_rate(job, VALIDATION, workspace.calibration)
            asked[output] = {"cell": asdict(cell), "config": job.config, "code": None}
    return folder, asked


@pytest.fixture
def asked(swept, tmp_path, monkeypatch):
    """What is asked of the trials, in a copy of their folder."""
    folder, asked = swept
    shutil.copytree(folder, tmp_path / "copy")
    monkeypatch.chdir(tmp_path / "copy")
    return json.loads(json.dumps(asked))


def refusal(asked) -> str:
    with pytest.raises(UnreadableError) as error:
        read_trials(asked)
    (line,) = str(error.value).splitlines()
    return line


def test_trials_say_what_they_were_made_from_and_are_read_in_a_copy(asked):
    table = tuning_table(read_trials(asked))
    assert list(table["repair"]) == ["full", "lora"]
    assert table["base_validation_loss"].nunique() == 1
    made_from = read_json(LORA)["made_from"]
    files = {
        "model": Workspace.model,
        "base": "results/checkpoints/tiny/wanda-s60/base",
        "blocks": Workspace.blocks,
        "validation": VALIDATION,
        "tokens": Workspace.calibration,
    }
    assert {key: made_from[key] for key in files} == {k: identity(p) for k, p in files.items()}
    assert made_from["repair"] == asked[LORA]["config"]["repair"]


@pytest.mark.parametrize(
    ("keys", "value", "said"),
    [
        ("cell.budget", "x4", 'budget = "default", asked: "x4"'),
        ("cell.model", "001", 'model = "tiny", asked: "001"'),
        ("cell.repair", "mine", 'repair = "full", asked: "mine"'),
        ("cell.seed", 1, "seed = 0, asked: 1"),
        ("config.repair.learning_rate", 0.003, "learning_rate = 0.01, asked: 0.003"),
        ("config.repair.weight_decay", 0.5, "repair.weight_decay = nothing, asked: 0.5"),
        ("config.training.steps", 8, "tokens = 128, asked: 256"),
        ("config.training.warmup", 0.5, "training.warmup = nothing, asked: 0.5"),
        ("config.packing.validation.blocks", 16, "packing.validation.blocks = 8, asked: 16"),
        ("config.calibration.samples", 4, "calibration.samples = 8, asked: 4"),
        ("config.pruning.shrinkage", 1, "pruning.shrinkage = nothing, asked: 1"),
        ("config.runtime.dtype", "float32", 'runtime.dtype = "bfloat16", asked: "float32"'),
        ("config.model.source", "hub", 'source.source = "synthetic", asked: "hub"'),
    ],
)
def test_a_trial_of_something_else_than_is_asked_is_refused(asked, keys, value, said):
    *path, last = keys.split(".")
    of = wanted = asked[FULL]
    for key in path:
        of = of[key]
    of[last] = value
    assert refusal({FULL: wanted}) == f"{FULL}: made with {said}; remove it and run again"


def test_a_trial_of_other_code_is_refused(asked):
    Path("listing").write_text("other")
    wanted = {FULL: asked[FULL] | {"code": "listing"}}
    assert refusal(wanted).startswith(f"{FULL}: made with code = nothing, asked: ")


def test_a_trial_under_the_name_of_another_one_is_refused(asked):
    shutil.copy(LORA, FULL)
    made = 'repair = "lora", asked: "full"'
    assert refusal(asked) == f"{FULL}: made with {made}; remove it and run again"


@pytest.mark.parametrize("key", ["model", "base", "blocks", "validation", "tokens"])
def test_trials_of_two_runs_are_refused(asked, key):
    trial = read_json(FULL)
    known = trial["made_from"][key][:12]
    write_json(FULL, trial | {"made_from": trial["made_from"] | {key: "a" * 64}})
    assert refusal(asked) == (
        f"{FULL}: made with {key} = aaaaaaaaaaaa, {LORA} with {known}; remove both and run again"
    )


def test_each_budget_has_repair_text_of_its_own(asked):
    trial = read_json(FULL)
    write_json(
        FULL, trial | {"budget": "x4", "made_from": trial["made_from"] | {"blocks": "a" * 64}}
    )
    asked[FULL]["cell"]["budget"] = "x4"
    assert len(read_trials(asked)) == 2


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (lambda text: "{}", "model: missing; "),
        (lambda text: text[:100], "no JSON: "),
        (lambda text: "[1]", ": [1]: allowed keys: "),
        (lambda text: text.replace('"tokens": 128', '"tokens": true'), "tokens = True: "),
        (lambda text: text.replace('"validation_loss"', '"loss"'), "missing; "),
        (lambda text: text.replace('_loss": ', '_loss": NaN, "_loss": '), "_loss"),
        (lambda text: text.partition(',\n  "made_from"')[0] + "}", "made_from: missing; "),
        (lambda text: text.replace('    "base"', '    "bass"'), "made_from.base: missing"),
    ],
)
def test_a_damaged_trial_is_one_line(asked, edit, said):
    text = Path(FULL).read_text()
    Path(FULL).write_text(edit(text))
    assert Path(FULL).read_text() != text
    line = refusal(asked)
    assert line.startswith(f"{FULL}: ")
    assert line.endswith("; remove it and run again")
    assert said in line
    Path(FULL).unlink()
    assert refusal(asked).startswith(f"{FULL}: No such file")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1.0, "4.2", True])
def test_a_loss_that_is_none_is_one_line(asked, value):
    Path(FULL).write_text(json.dumps(read_json(FULL) | {"validation_loss": value}))
    assert refusal(asked).startswith(f"{FULL}: validation_loss = {value!r}: allowed: ")


def test_a_base_of_other_calibration_text_is_not_tried(swept, tmp_path, dense, monkeypatch):
    workspace = Workspace(tmp_path, dense, monkeypatch)
    workspace.base("wanda")
    blocks(VALIDATION, TOKENS, TOKENS.clone(), workspace.model, PACKING, {"x": "0" * 64})
    made_from = read_json(Path(workspace.calibration).with_suffix(".json"))["made_from"]
    mark(workspace.calibration, made_from | {"data": {"x": "1" * 64}})
    with pytest.raises(OriginError, match=r"/base: made with data.x = "):
        try_learning_rate(job_of(workspace, CELLS[1], FULL), VALIDATION, workspace.calibration)
