"""A cell's model as a folder that travels: what was evaluated, and its card."""

import shutil
from dataclasses import asdict
from functools import partial
from pathlib import Path

import pytest
import torch
from cells_on_disk import Workspace, logits
from tiny import bits_of, tiny_family
from transformers import AutoModelForCausalLM, AutoTokenizer

from baselines.pruning import prunable_layers, prune, sparsity_report
from baselines.repair import REPAIRS
from bench.cells import Cell, dense_cell, record_path
from bench.files import read_json, write_json
from bench.origin import SEEN
from bench.records.record import describe_error
from bench.sources.families import FAMILIES
from bench.tools.export import default_output, export, main, save_weights
from seft.storage.files import load_bitmask


@pytest.fixture
def workspace(tmp_path, dense, monkeypatch):
    return Workspace(tmp_path, dense, monkeypatch)


LOADERS = {
    "dense": partial(AutoModelForCausalLM.from_pretrained, local_files_only=True),
    "bitmask": load_bitmask,
}


def exported(folder, out, monkeypatch, storage="dense"):
    monkeypatch.setattr("sys.argv", ["export", folder, out, "--format", storage])
    main()
    return LOADERS[storage](out)


@pytest.mark.parametrize("repair", REPAIRS)
def test_the_exported_model_is_the_evaluated_one(workspace, monkeypatch, repair):
    folder = workspace.cell(repair)
    model = exported(folder, "out", monkeypatch)
    assert torch.equal(logits(model), workspace.evaluated)
    record = read_json(f"{folder}/record.json")
    report = sparsity_report(model)
    assert report.sparsity == record["sparsity"]["achieved"]
    assert report.layers == record["sparsity"]["layers"]
    packed = bits_of(exported(folder, "packed", monkeypatch, "bitmask"))
    plain = bits_of(model)
    assert packed.keys() == plain.keys()
    assert all(torch.equal(packed[name], plain[name]) for name in plain)


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("storage", LOADERS)
@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_is_loaded_bit_for_bit(tmp_path, monkeypatch, family, storage, tied):
    model = tiny_family(family, tie_word_embeddings=tied)
    prune(model, "magnitude", sparsity=0.6)
    for layer in prunable_layers(model).values():
        layer.weight.data[0, :2] = torch.tensor([-0.0, 0.0])
    # So small that each is in several files.
    monkeypatch.setattr("bench.tools.export.LARGEST_FILE", 30_000)
    save_weights(model, tmp_path, storage)
    loaded = LOADERS[storage](tmp_path)
    assert type(loaded) is type(model)
    expected, found = bits_of(model), bits_of(loaded)
    assert expected.keys() == found.keys()
    assert all(torch.equal(expected[name], found[name]) for name in expected)
    assert (loaded.get_output_embeddings().weight is loaded.get_input_embeddings().weight) == tied
    (index,) = tmp_path.glob("*.index.json")
    assert len({*read_json(index)["weight_map"].values()}) > 1


def test_either_format_has_the_same_settings_tokenizer_and_card(workspace, monkeypatch):
    folder = workspace.cell("none")
    for storage in LOADERS:
        exported(folder, storage, monkeypatch, storage)
    files = {path.name for path in Path("dense").iterdir()}
    assert {path.name for path in Path("bitmask").iterdir()} == (
        files - {"model.safetensors"} | {"bitmask.safetensors"}
    )
    for name in files - {"model.safetensors", "README.md"}:
        assert Path("dense", name).read_bytes() == Path("bitmask", name).read_bytes(), name
    cards = {storage: Path(storage, "README.md").read_text() for storage in LOADERS}
    assert 'load_bitmask("' in cards["bitmask"]
    assert 'AutoModelForCausalLM.from_pretrained("' in cards["dense"]
    assert Path("bitmask/bitmask.safetensors").stat().st_size < (
        Path("dense/model.safetensors").stat().st_size
    )


def test_a_base_with_values_of_its_own_is_exported_with_its_tokenizer(workspace, monkeypatch):
    model = exported(workspace.cell("none", pruner="sparsegpt"), "out", monkeypatch)
    assert torch.equal(logits(model), workspace.evaluated)
    assert model.dtype == torch.bfloat16
    text = "The stones are heavy."
    tokenizers = [AutoTokenizer.from_pretrained(path) for path in ("out", workspace.model)]
    assert tokenizers[0](text)["input_ids"] == tokenizers[1](text)["input_ids"]


def test_stages_say_what_they_hold_on_disk(workspace):
    record = read_json(f"{workspace.cell('seft')}/record.json")
    for stage, folder in (("prune", "base"), ("repair", "trained")):
        paths = Path(record["inputs"][folder]).iterdir()
        files = {path.name: path.stat().st_size for path in paths}
        expected = sum(files.values()) - files["stage.json"] - files[SEEN]
        assert record["stages"][stage]["disk_bytes"] == expected


def test_where_a_model_goes_if_nothing_else_is_said():
    cell = "tiny/wanda-s60/seft/seed0"
    for folder in (f"results/cells/{cell}", f"/elsewhere/results/cells/{cell}/"):
        assert str(default_output(Path(folder))) == f"results/export/{cell}"


def refusal(folder, monkeypatch, *options, out="out") -> str:
    monkeypatch.setattr("sys.argv", ["export", folder, out, *options])
    with pytest.raises(SystemExit) as exit_:
        main()
    # sys.exit prints a text on stderr and exits with status 1.
    (line,) = exit_.value.code.splitlines()
    return line


def test_what_cannot_be_exported_is_one_line(workspace, monkeypatch, tmp_path):
    folder = workspace.cell("full")
    record = read_json(f"{folder}/record.json")
    trained = tmp_path / record["inputs"]["trained"]

    assert "no cell; allowed: results/cells/" in refusal("results/cells/tiny", monkeypatch)
    assert "resources: exists" in refusal(folder, monkeypatch, out="resources")
    mixed = refusal("results", monkeypatch, "--to", "lm-eval", "--format", "bitmask")
    assert mixed == "--format: allowed without --to"

    def changed(**entries) -> str:
        cell = Cell(**entries.get("cell", record["cell"]))
        path = Path("elsewhere", record_path(cell))
        write_json(path, record | entries)
        return str(path.parent)

    error = describe_error(FloatingPointError("loss is nan at step 3"), "repair", 1)
    failed = changed(status="failed", error=error)
    assert refusal(failed, monkeypatch) == f"{failed}: failed: loss is nan at step 3"
    assert "schema_version = 2: allowed: 1" in refusal(changed(schema_version=2), monkeypatch)
    old = changed(inputs=None)
    assert "does not say what its model was made from" in refusal(old, monkeypatch)
    dense = changed(cell=asdict(dense_cell("tiny")))
    assert "a transformers folder: resources/models/tiny" in refusal(dense, monkeypatch)

    (weights,) = trained.glob("*.safetensors")
    weights.write_bytes(weights.read_bytes()[:-1])
    assert refusal(folder, monkeypatch).startswith(f"{folder}: ")
    trained.rename(tmp_path / "moved")
    assert f"{record['inputs']['trained']}, which is not there" in refusal(folder, monkeypatch)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("storage", LOADERS)
def test_a_folder_is_whole_or_not_there(workspace, monkeypatch, tmp_path, storage):
    folder = Path(workspace.cell("none"))
    before = {path.name for path in tmp_path.iterdir()}

    def full(*arguments):
        raise OSError("No space left on device")

    monkeypatch.setattr("bench.tools.export.model_card", full)
    with pytest.raises(OSError, match="No space left"):
        export(folder, tmp_path / "out", storage)
    assert {path.name for path in tmp_path.iterdir()} == before


def test_an_unknown_format_is_one_line(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["export", "results/cells/tiny", "--format", "zip"])
    with pytest.raises(SystemExit) as ended:
        main()
    (line,) = capsys.readouterr().err.splitlines()
    assert ended.value.code == 1
    assert "--format: invalid choice: 'zip' (choose from" in line


def test_a_base_that_changed_since_the_evaluation_is_not_exported(workspace, tmp_path):
    folder = tmp_path / workspace.cell("none")
    record = read_json(folder / "record.json")
    shutil.rmtree(record["inputs"]["base"])
    shutil.move(workspace.base("magnitude"), record["inputs"]["base"])
    with pytest.raises(ValueError, match=r"base has changed since; run the cell again$"):
        export(folder, tmp_path / "out")
    assert not (tmp_path / "out").exists()
