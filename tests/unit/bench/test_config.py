"""The configuration: what is allowed, and that anything else is one line that says so."""

import copy
import gzip
import json
from pathlib import Path

import jsonschema
import pandas as pd
import pytest
import yaml
from dotted import change
from layers import load_layers, read_layers
from made_up_results import made_up_results

from bench.cells import Cell
from bench.config.loading import ConfigError, json_schema, load, load_or_exit
from bench.config.repair import TRAININGS
from bench.data.prepare import prepare
from bench.evaluation.tasks import FACTS
from bench.paths import ROOT
from bench.planning.preflight import exit_on, find_problems, task_problems
from bench.records.record import data_config, resolved_config
from bench.sources import fetch
from bench.tables.table1 import BESIDE_SCORES
from bench.tools.reference import README, SCHEMA, reachable, readme_text, schema_text

CONFIG = ROOT / "config"


def changed(path: str, value) -> dict:
    """The default configuration with the value at a dotted path replaced, or removed (``...``)."""
    return change(read_layers(), path, value)


BAD = [
    # What is changed, to what, and what the line must say: the key, the value, what is allowed.
    ("training.stpes", 4, ["training.stpes", "4", "unknown key", "steps"]),
    ("grdi", {}, ["grdi", "unknown key", "grid"]),
    ("models.smollm2-135m.source.url", "x", ["source.url", "'x'", "unknown key", "sha256"]),
    ("repair.lora.rnak", 8, ["repair.lora.rnak", "8", "unknown key", "rank"]),
    ("pruning.sparsegpt.dampening", 1, ["pruning.sparsegpt.dampening", "unknown key", "damping"]),
    ("training.steps", "many", ["training.steps", "'many'", "integer"]),
    ("training.steps", 0, ["training.steps", "0", "greater than 0"]),
    ("training.length", -1, ["training.length", "-1", "greater than or equal to 2"]),
    ("training.warmup", 1.5, ["training.warmup", "1.5", "less than 1"]),
    ("training.mixture", [], ["training.mixture", "[]", "at least 1"]),
    ("training.validation_split", "train", ["validation_split", "'train'", "also trained on"]),
    ("evaluation.tasks.winogrande.split", "validation", ["'validation'", "trained or calibrated"]),
    ("training.prompt_loss", "maybe", ["training.prompt_loss", "'maybe'", "boolean"]),
    ("grid.patterns", [0], ["grid.patterns", "0", "above 0 and below 1"]),
    ("grid.patterns", [1], ["grid.patterns", "1", "above 0 and below 1"]),
    ("grid.patterns", [1.2], ["grid.patterns", "1.2", "above 0 and below 1"]),
    ("grid.patterns", ["s0"], ["grid.patterns", "'s0'", "0 < percent < 100"]),
    ("grid.patterns", ["s120"], ["grid.patterns", "'s120'", "0 < percent < 100"]),
    ("grid.patterns", ["4of4"], ["grid.patterns", "'4of4'", "0 < n < m"]),
    ("grid.patterns", ["3of7"], ["grid.patterns", "'3of7'", "576 and 1536", "divides"]),
    ("grid.pruners", ["wnada"], ["grid.pruners", "'wnada'", "magnitude, wanda, sparsegpt"]),
    ("grid.repairs", ["sfet"], ["grid.repairs", "'sfet'", "none, full, lora, lora-dense, spp"]),
    ("grid.models", ["llama"], ["grid.models", "'llama'", "smollm2-135m"]),
    ("grid.models", [], ["grid.models", "[]", "at least 1"]),
    ("grid.pruners", [], ["grid.pruners", "[]", "at least 1"]),
    ("grid.seeds", [], ["grid.seeds", "[]", "at least 1"]),
    ("grid.seeds", [0, 0], ["grid.seeds", "[0, 0]", "each entry once"]),
    ("grid.seeds", [-1], ["grid.seeds", "-1", "greater than or equal to 0"]),
    ("grid", ..., ["grid", "missing"]),
    ("evaluation.tasks.sciense", {"data": "science", "metric": "acc"}, ["'sciense'", "science"]),
    ("evaluation.tasks.science.data", "scince", ["science.data", "'scince'", "social_iqa"]),
    ("evaluation.tasks.science.limit", 0, ["science.limit", "0", "greater than 0"]),
    ("evaluation.tasks.wiki.context_length", ..., ["evaluation.tasks.wiki", "context_length"]),
    ("evaluation.tasks.winogrande.split", "train", ["winogrande.split", "'train'", "trained"]),
    ("evaluation.tasks.winogrande.data", ..., ["winogrande.data: missing", "lm-eval's own task"]),
    ("evaluation.tasks", {"wiki": None}, ["evaluation.tasks", "at least one entry"]),
    ("evaluation.tasks.wiki.revision", "0" * 40, ["wiki", "revision", "only of a task of lm-eval"]),
    ("calibration.sampling", "some", ["calibration.sampling", "'some'", "'documents'"]),
    ("calibration.samples", 100_000, ["calibration.samples", "100000", "25600000", "1600524"]),
    ("calibration.data", "squda", ["calibration.data", "'squda'", "squad"]),
    ("calibration.split", "test", ["calibration.split", "'test'", "train, validation"]),
    ("data.squad.reader", "sqad", ["data.squad.reader", "'sqad'", "squad"]),
    ("data.squad.source", "bigbnch", ["data.squad.source", "'bigbnch'", "bigbench"]),
    ("data.squad.splits", {"train": 0.5}, ["data.squad.splits", "0.5", "add up to 1"]),
    ("sources.bigbench.sha256", "abc", ["sources.bigbench.sha256", "'abc'", "0-9a-f"]),
    ("sources.bigbench.source", "ftp", ["sources.bigbench", "ftp", "pypi", "hub", "path"]),
    ("repair.lora", ..., ["repair.lora", "missing", "lora"]),
    ("repair.lora.learning_rate", 0, ["repair.lora.learning_rate", "0", "greater than 0"]),
    ("repair.seft.evolve_every", 0, ["repair.seft", "evolve_every", "0"]),
    ("repair.spp.dropout", 1.0, ["repair.spp.dropout", "1.0", "less than 1"]),
    ("runtime.dtype", "float8", ["runtime.dtype", "'float8'", "bfloat16"]),
    ("runtime.threads", 0, ["runtime.threads", "0", "greater than 0"]),
    ("runtime.processes", 5, ["runtime.processes", "5", "divisor of training.batch_size"]),
    ("models.smollm2-135m.band.wikki", [1, 2], ["band", "'wikki'", "unknown", "wiki"]),
    ("models.smollm2-135m.band.wiki", [20, 15], ["band.wiki", "[20, 15]", "the lowest score"]),
    ("models.smollm2-135m.band.wiki", [15, float("nan")], ["band.wiki.1", "nan", "finite"]),
    ("models.smollm2-135m.shape.hiden", 576, ["shape.hiden", "576", "unknown key", "hidden"]),
    ("models.smollm2-135m.shape.hidden", 0, ["shape.hidden", "0", "greater than 0"]),
    ("models.smollm2-135m.shape.heads", 7, ["shape", "key_value_heads = 3", "heads = 7"]),
    ("models.smollm2-135m.shape.heads", 15, ["shape", "heads = 15", "hidden = 576"]),
    ("tuning.learning_rates.lora", [1e-3], ["tuning.learning_rates", "same number"]),
    ("tuning.learning_rates.lroa", [1e-3] * 4, ["tuning.learning_rates", "'lroa'", "lora"]),
    ("tuning.learning_rates.lora-dense", [1e-3] * 4, ["'lora-dense'", "unknown", "lora, spp"]),
    ("tuning.model", "llama", ["tuning.model", "'llama'", "smollm2-135m"]),
    ("tuning.pruner", "wnada", ["tuning.pruner", "'wnada'", "magnitude, wanda"]),
    ("repair.masked-lora", ..., ["repair.masked-lora", "missing", "tuning.learning_rates"]),
    ("repair.spiel.mask", "evolve", ["repair.spiel.mask", "'evolve'", "unknown key", "match_rank"]),
    ("pruning.wanda.allocation", "own", ["wanda.allocation", "'own'", "'owl' or 'owl-minmax'"]),
    ("pruning.sparsegpt.damping", -1, ["pruning.sparsegpt.damping = -1", "than or equal to 0"]),
    ("variants.mine", {"of": "sfet"}, ["variants.mine.of", "'sfet'", "full, lora, spp, seft"]),
    ("variants.mine", {"of": "lora-dense"}, ["variants.mine.of", "'lora-dense'", "full, lora"]),
    ("variants.mine", {"init": "random"}, ["variants.mine.of", "missing"]),
    ("variants.mine", {"of": "seft", "inti": 1}, ["variants.mine.inti", "unknown key", "init"]),
    ("variants.mine", {"of": "lora", "rank": 0}, ["variants.mine.rank", "0", "greater than 0"]),
    # What is allowed alone may not be allowed with the repair's own options.
    ("variants.mine", {"of": "seft", "evolve_every": 1}, ["variants.mine", "accumulate_steps=2"]),
    ("variants.seft", {"of": "lora"}, ["variants", "'seft'", "a name that no repair has"]),
    ("variants.a/b", {"of": "lora"}, ["variants", "'a/b'", "letters, digits and hyphens"]),
    ("variants", {"mine": 3}, ["variants.mine", "3"]),
    ("grid.repairs", ["none", "mine"], ["grid.repairs", "'mine'", "unknown"]),
    ("grid.budgets", ["x4"], ["grid.budgets", "'x4'", "unknown; allowed: default"]),
    ("grid.budgets", [], ["grid.budgets", "[]", "at least 1"]),
    ("tuning.budgets", ["x4"], ["tuning.budgets", "'x4'", "unknown; allowed: default"]),
    ("budgets.x4", {"steps": 0}, ["budgets.x4.steps", "0", "greater than 0"]),
    ("budgets.x4", {"length": 64}, ["budgets.x4.length", "64", "unknown key", "steps, batch_size"]),
    ("budgets.default", {"steps": 9}, ["budgets", "'default'", "a name other than `default`"]),
    ("budgets.none", {"steps": 9}, ["budgets", "'none'", "and `none`"]),
    ("budgets.a@b", {"steps": 9}, ["budgets", "'a@b'", "letters, digits and hyphens"]),
    ("budgets.x4", {"repair": {"lroa": {}}}, ["budgets.x4.repair", "'lroa'", "unknown", "lora"]),
    ("budgets.x4", {"repair": {"lora-dense": {}}}, ["budgets.x4.repair", "'lora-dense'"]),
    (
        "budgets.x4",
        {"repair": {"lora": {"learning_rate": 0}}},
        ["budgets.x4.repair.lora.learning_rate", "0", "greater than 0"],
    ),
]


@pytest.mark.parametrize(("path", "value", "said"), BAD, ids=[f"{p}={v!r}" for p, v, _ in BAD])
def test_bad_input_is_one_line_with_key_value_and_what_is_allowed(path, value, said, capsys):
    with pytest.raises(SystemExit) as exit_:
        load_or_exit(changed(path, value))
    message = exit_.value.code  # sys.exit prints a text on stderr and exits with status 1
    assert isinstance(message, str)
    assert len(message.splitlines()) == 1, message
    assert message.startswith("config: ")
    for part in said:
        assert part in message


@pytest.mark.parametrize("task", ["wikitext2_2048", "hellaswag"])
def test_a_band_of_a_task_that_is_not_run(task):
    load(changed(f"models.smollm2-135m.band.{task}", [1, 2]))


def test_each_problem_has_a_line_of_its_own():
    values = changed("training.steps", 0)
    values["grid"]["seeds"] = []
    with pytest.raises(ConfigError) as error:
        load(values)
    assert len(str(error.value).splitlines()) == 2


# `llama-2-7b` lies over the paper's grid: its tests are there.
GRIDS = sorted(f for f in CONFIG.glob("*.yaml") if f.stem not in ("claims", "llama-2-7b"))


@pytest.mark.parametrize(
    "file", [*GRIDS, CONFIG / "layers/more-text.yaml"], ids=lambda file: file.stem
)
def test_shipped_configurations_are_allowed(file):
    config = load_layers(file.relative_to(CONFIG))
    assert not list(find_problems(config))


@pytest.mark.parametrize("pattern", ["2of4", "s95"])
def test_an_allocation_that_does_not_apply_to_a_pattern_of_the_grid(pattern):
    values = changed("pruning.wanda.allocation", "owl")
    assert load(values).pruner("wanda").allocation == "owl"
    values["grid"]["patterns"] = [pattern]
    with pytest.raises(ConfigError) as error:
        load(values)
    assert str(error.value) == (
        f"config: pruning.wanda: allocation 'owl' does not apply to pattern {pattern}; "
        "it must be unstructured, with a sparsity in (0.08, 0.92)"
    )


def test_magnitude_reads_calibration_where_its_allocation_does():
    def reads(values: dict) -> bool:
        return load(values).pruner("magnitude").reads_calibration

    assert not reads(read_layers())
    assert reads(changed("pruning.magnitude.allocation", "owl"))


def test_the_default_sweep_has_rates_for_every_training_that_has_options():
    config = load(read_layers())
    trained = {name for name in TRAININGS if config.repair_options(name)}
    assert set(config.tuning.learning_rates) == trained
    assert len(trained) >= 11


def test_the_default_grid_is_eighteen_cells_over_three_bases():
    cells = list(load(read_layers()).cells())
    assert len(cells) == 18
    assert len({cell.base for cell in cells}) == 3


def test_the_unrepaired_base_has_one_cell_whatever_the_seeds():
    cells = list(load(changed("grid.seeds", [0, 1, 2])).cells())
    assert len([cell for cell in cells if cell.repair == "none"]) == 3
    assert len([cell for cell in cells if cell.repair == "seft"]) == 9


def test_a_number_is_a_sparsity():
    assert load(changed("grid.patterns", [0.6, "2of4"])).grid.patterns == ["s60", "2of4"]


WIDE = {
    "architectures": ["LlamaForCausalLM"],
    "hidden_size": 66,
    "intermediate_size": 96,
    "num_hidden_layers": 1,
    "num_attention_heads": 1,
    "vocab_size": 300,
}


def path_model(tmp_path, settings: dict) -> dict:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(settings))
    values = changed("models.mine", {"source": {"source": "path", "path": str(folder)}})
    values["grid"]["models"] = ["mine"]
    return values


@pytest.mark.parametrize(
    ("settings", "patterns", "said"),
    [
        ({"architectures": ["BertForMaskedLM"]}, ["s60"], "allowed: a causal language model"),
        ({"architectures": "LlamaForCausalLM"}, ["s60"], "allowed: a valid list"),
        ([], ["s60"], "config.json: []: allowed keys: architectures"),
        (
            WIDE,
            ["2of4"],
            "model 'mine' has layers 66 inputs wide; allowed: N of M where M divides every width",
        ),
    ],
)
def test_local_models_are_looked_at_before_any_job(tmp_path, settings, patterns, said):
    values = path_model(tmp_path, settings)
    values["grid"]["patterns"] = patterns
    with pytest.raises(SystemExit) as exit_:
        exit_on(find_problems(load(values)))
    (line,) = exit_.value.code.splitlines()
    assert said in line


def test_paths_that_are_not_there(tmp_path):
    values = read_layers()
    values["models"]["mine"] = {"source": {"source": "path", "path": str(tmp_path / "none")}}
    values["grid"]["models"] = ["mine"]
    (line,) = find_problems(load(values))
    assert line == f"models.mine.source.path = '{tmp_path / 'none'}': no such file or folder"

    # No name is too long to ask for, and nobody's home folder is none.
    for path in (f"/{'x' * 300}", "~nobody-of-this-name/x"):
        values["models"]["mine"]["source"]["path"] = path
        values["sources"]["mine"] = {"source": "path", "path": path}
        assert list(find_problems(load(values))) == [
            f"models.mine.source.path = '{path}': no such file or folder",
            f"sources.mine.path = '{path}': no such file or folder",
        ]

    values = read_layers()
    values["sources"]["bigbench"] = {"source": "path", "path": str(tmp_path)}
    lines = list(find_problems(load(values)))
    assert len(lines) == len(values["data"])
    assert "no such file" in lines[0]


@pytest.mark.parametrize("path", [".", "..", "/"])
def test_a_source_that_holds_the_working_folder(tmp_path, monkeypatch, path):
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    values = read_layers()
    values["sources"]["mine"] = {"source": "path", "path": path}
    (line,) = find_problems(load(values))
    said = "holds the working folder; allowed: a file, or a folder of its own"
    assert line == f"sources.mine.path = '{path}': {said}"
    values["sources"]["mine"]["path"] = str(tmp_path / "work/data")
    (tmp_path / "work/data").mkdir()
    assert list(find_problems(load(values))) == []


def test_a_model_that_holds_the_working_folder(tmp_path, monkeypatch):
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    values = read_layers()
    values["models"]["mine"] = {"source": {"source": "path", "path": ".."}}
    values["grid"]["models"] = ["mine"]
    (line,) = find_problems(load(values))
    said = "holds the working folder; allowed: a file, or a folder of its own"
    assert line == f"models.mine.source.path = '..': {said}"


@pytest.mark.parametrize("name", ["mine.gguf", "mine.bin"])
def test_a_gguf_file_is_a_model(tmp_path, name):
    (tmp_path / name).write_bytes(b"GGUF")
    values = read_layers()
    values["models"]["mine"] = {"source": {"source": "path", "path": str(tmp_path / name)}}
    values["grid"]["models"] = ["mine"]
    problems = list(find_problems(load(values)))
    assert [line.partition(": ")[2] for line in problems] == (
        []
        if name == "mine.gguf"
        else ["has no config.json; allowed: a model's folder, or a file that ends in .gguf"]
    )


@pytest.mark.parametrize(
    "name", ["seeds", "average", "repair_cost_seconds", "recovery", "tie_group", "x_answer_bpb"]
)
def test_a_task_is_not_called_as_a_column_is(name):
    values = changed(f"evaluation.tasks.{name}", {"metric": "acc"})
    line = f"evaluation.tasks = {name!r}: allowed: another name than a column of tables has"
    assert line in find_problems(load(values))


def test_columns_beside_scores_are_those_of_the_table(tmp_path):
    made_up_results(tmp_path / "results")
    table = pd.read_csv(tmp_path / "results/table1.csv")
    scores = pd.read_csv(tmp_path / "results/scores.csv")["task"].unique()
    shown = {f"{name}{end}" for name in scores for end in ("", "_std", "_ci_low", "_ci_high")}
    assert set(table.columns) - shown == set(BESIDE_SCORES)


@pytest.mark.parametrize("name", ["hellaswga", "ai2_arc"])
def test_a_task_that_lm_eval_does_not_have(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (line,) = find_problems(load(changed(f"evaluation.tasks.{name}", {"metric": "acc"})))
    assert line.startswith(f"evaluation.tasks = {name!r}: unknown; allowed: a task or a group of ")
    assert line.endswith("science, social_iqa, wiki, wikitext2_2048, wikitext2_4096, winogrande")


def test_tasks_and_data_of_one_name_lie_in_folders_of_their_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    values = changed("evaluation.tasks.winogrande.data", None)
    values["data"]["arc_easy"] = values["data"]["science"]
    values["evaluation"]["tasks"]["arc_easy"] = {"metric": "acc"}
    values["evaluation"]["tasks"]["social_iqa"]["data"] = "arc_easy"
    config = load(values)
    assert not list(find_problems(config))
    tasks = config.evaluation.tasks
    places = {name: str(task.items(name, Path("resources"))) for name, task in tasks.items()}
    assert places == {
        "social_iqa": "resources/data/arc_easy/test.jsonl",
        "winogrande": "resources/tasks/winogrande",
        "science": "resources/data/science/test.jsonl",
        "wiki": "resources/data/wiki/test.jsonl",
        "arc_easy": "resources/tasks/arc_easy",
    }


def test_calibration_may_have_as_many_tokens_as_its_text_has_bytes():
    """A tokenizer of bytes may have a token for each."""
    values = read_layers()
    values["data"]["squad"]["characters"] = 400
    bytes_at_most = len("𠀀".encode() * 400)
    values["calibration"] |= {"samples": bytes_at_most // 16, "length": 16}
    load(values)
    values["calibration"]["samples"] += 1
    with pytest.raises(ConfigError) as error:
        load(values)
    (line,) = str(error.value).splitlines()
    assert f"1616 tokens; allowed: at most {bytes_at_most}, the bytes" in line


def add_own_data(values, name, path, file, splits):
    """Let a data set be of a file of the user's own, by a source `mine` of a path."""
    values["sources"]["mine"] = {"source": "path", "path": str(path)}
    values["data"][name] = {
        "source": "mine",
        "files": [file],
        "reader": "jsonl",
        "splits": splits,
        "licence": "CC0-1.0",
    }


def test_calibration_longer_than_a_local_text(tmp_path):
    (tmp_path / "text.jsonl").write_text('{"id": "a", "text": "short"}\n')
    values = read_layers()
    add_own_data(values, "text", tmp_path, "text.jsonl", {"train": 1})
    values["calibration"]["data"] = "text"
    (line,) = find_problems(load(values))
    assert "calibration.samples = 16" in line
    assert "at most the 29 bytes of 'text'" in line
    # What is packed has more.
    (tmp_path / "text.gz").write_bytes(gzip.compress(b'{"text": "again"}\n' * 100))
    values["data"]["text"] |= {"files": ["text.gz"], "reader": "c4"}
    values["sources"]["mine"]["files"] = ["*.gz"]
    assert not list(find_problems(load(values)))


def test_the_hash_follows_what_decides_a_cells_numbers():
    config = load(read_layers())
    cells = {cell.repair: cell for cell in config.cells() if cell.pruner == "wanda"}
    first = resolved_config(config, cells["seft"])["hash"]
    assert resolved_config(load(read_layers()), cells["seft"])["hash"] == first
    other = load(changed("repair.seft.learning_rate", 0.5))
    assert resolved_config(other, cells["seft"])["hash"] != first
    assert (
        resolved_config(other, cells["lora"])["hash"]
        == resolved_config(config, cells["lora"])["hash"]
    )
    more = load(changed("grid.seeds", [0, 1]))
    assert resolved_config(more, cells["seft"])["hash"] == first


def with_variants(**variants):
    values = changed("variants", variants)
    values["grid"] |= {"repairs": ["none", *variants, "seft"], "pruners": ["wanda"]}
    config = load(values)
    return {cell.repair: resolved_config(config, cell) for cell in config.cells()}


def test_a_variant_lays_its_options_over_those_of_its_repair():
    cells = with_variants(mine={"of": "seft", "init": "random"})
    assert list(cells) == ["none", "seft", "mine"]
    seft, mine = (cells[name]["resolved"] for name in ("seft", "mine"))
    assert mine["repair"] == seft["repair"] | {"of": "seft", "init": "random"}
    assert mine | {"repair": None} == seft | {"repair": None}
    plain = resolved_config(load(read_layers()), Cell("smollm2-135m", "wanda", "s60", "seft", 0))
    assert cells["seft"] == plain


def test_an_edited_variant_is_another_configuration_of_its_cells_alone():
    before = with_variants(one={"of": "seft", "init": "random"}, two={"of": "random-grow"})
    after = with_variants(one={"of": "seft", "stagger": False}, two={"of": "random-grow"})
    edited = {name for name in before if before[name]["hash"] != after[name]["hash"]}
    assert edited == {"one"}


def without_added_methods(schema: dict, written: dict) -> dict:
    """A schema without the pruners and repairs that the one that was written does not know."""
    schema = copy.deepcopy(schema)
    for kind in ("PruningOptions", "RepairOptions"):
        methods, known = (found["$defs"][kind]["properties"] for found in (schema, written))
        for name in methods.keys() - known.keys():
            del methods[name]
    used = reachable(schema)
    schema["$defs"] = {name: node for name, node in schema["$defs"].items() if name in used}
    return schema


def test_generated_files_agree_with_the_configuration():
    schema = without_added_methods(json_schema(), json.loads(SCHEMA.read_text()))
    assert SCHEMA.read_text() == schema_text(schema), "run `python -m bench reference`"
    assert README.read_text() == readme_text(schema), "run `python -m bench reference`"


def test_what_an_added_method_changes_is_told_from_what_else_changes():
    schema = json_schema()
    written = copy.deepcopy(schema)
    del written["$defs"]["RepairOptions"]["properties"]["spp"]
    del written["$defs"]["SppOptions"]
    assert without_added_methods(schema, written) == written
    del written["$defs"]["LoraOptions"]["properties"]["rank"]
    assert without_added_methods(schema, written) != written


SHIPPED = [*GRIDS, *CONFIG.glob("recipes/*.yaml"), *CONFIG.glob("layers/*.yaml")]


@pytest.mark.parametrize("file", SHIPPED, ids=lambda file: file.stem)
def test_editors_are_told_of_a_schema_that_takes_what_is_shipped(file):
    first, *_ = file.read_text().splitlines()
    schema = file.parent / first.removeprefix("# yaml-language-server: $schema=")
    assert schema.samefile(SCHEMA)
    jsonschema.validate(yaml.safe_load(file.read_text()), json.loads(SCHEMA.read_text()))


def test_editors_see_a_wrong_key():
    for path in ("training.stpes", "models.smollm2-135m.source.url", "repair.lora.rnak"):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(changed(path, 4), json.loads(SCHEMA.read_text()))


def test_no_line_of_the_schema_stands_for_little():
    assert len(SCHEMA.read_text().splitlines()) < 100


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[]", "[]"),
        ('{"made_from": {}}', "items: missing"),
        ('{"made_from": {}, "items": {"test": "x"}}', "'x'"),
    ],
)
def test_a_manifest_of_another_shape_is_one_line(tmp_path, monkeypatch, text, said):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "resources/data/science").mkdir(parents=True)
    (tmp_path / "resources/data/science/manifest.json").write_text(text)
    with pytest.raises(SystemExit) as ended:
        exit_on(find_problems(load(read_layers())))
    (line,) = ended.value.code.splitlines()
    assert line.startswith("resources/data/science/manifest.json: ")
    assert said in line


def test_more_items_than_there_are_is_one_line_before_any_job(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    values = changed("evaluation.tasks.science.limit", 151)
    folder = tmp_path / "resources/data/science"
    folder.mkdir(parents=True)
    made_from = data_config(load(values), ["science"])["science"]
    manifest = {"made_from": made_from, "items": {"test": 150}}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    line = "evaluation.tasks.science.limit = 151: allowed: at most 150, the items there are"
    assert list(find_problems(load(values))) == [line]
    with pytest.raises(SystemExit, match=f"^config: {line}$"):
        exit_on(task_problems(load(values)))
    exit_on(task_problems(load(read_layers())))
    few = load(changed("evaluation.tasks.science.few_shot", 150))
    (line,) = find_problems(few)
    assert line == "evaluation.tasks.science.few_shot = 150: allowed: at most 149, the other items"
    # Those of another data set say nothing, or of another source of the same name.
    other = changed("evaluation.tasks.science.limit", 151)
    other["sources"]["bigbench"]["licence"] = "another"
    assert not list(find_problems(load(other)))
    values["data"]["science"]["limit"] = 900
    assert not list(find_problems(load(values)))


def test_items_of_a_file_that_has_grown_since_are_not_counted(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    lines = [json.dumps({"question": f"{n}?", "choices": ["a", "b"], "answer": 0}) for n in (0, 1)]
    file = tmp_path / "own.jsonl"
    file.write_text("\n".join(lines))
    values = changed("evaluation.tasks.science.limit", 3)
    add_own_data(values, "science", file, file.name, {"test": 1.0})
    config = load(values)
    source, made = config.sources["mine"], tmp_path / "resources"
    fetch(source, made / "sources/mine")
    asked = source.model_dump(mode="json")
    prepare(
        "science", config.data["science"], made / "sources/mine", made / "data/science", asked=asked
    )
    line = "evaluation.tasks.science.limit = 3: allowed: at most 2, the items there are"
    assert list(find_problems(config)) == [line]
    file.write_text("\n".join([*lines, lines[0].replace("0?", "2?")]))
    assert not list(find_problems(config))


def test_what_a_task_of_lm_eval_has_is_known_once_it_is_fetched(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    values = changed("evaluation.tasks.arc_easy", {"data": None, "metric": "f1", "limit": 20})
    assert not list(find_problems(load(values)))
    folder = tmp_path / "resources/tasks/arc_easy"
    folder.mkdir(parents=True)
    (folder / FACTS).write_text(json.dumps({"metrics": ["acc", "acc_norm"], "items": 12}))
    assert list(find_problems(load(values))) == [
        "evaluation.tasks.arc_easy.limit = 20: allowed: at most 12, the items there are",
        "evaluation.tasks.arc_easy.metric = 'f1': allowed: acc, acc_norm",
    ]


def test_checkpoints_that_are_a_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "taken").write_text("")
    assert list(find_problems(load(changed("checkpoints", "taken")))) == [
        "checkpoints = 'taken': is a file; allowed: a folder"
    ]


def test_loading_changes_nothing_that_it_is_given():
    values = read_layers()
    before = copy.deepcopy(values)
    load(values)
    assert values == before
