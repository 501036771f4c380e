"""The hub's client against a stand-in of the hub on the loopback interface."""

import hashlib
from types import SimpleNamespace

import pytest
import yaml
from hub_stand_in import REVISION, Hub
from huggingface_hub import constants
from pydantic import ValidationError
from snakemake.utils import update_config
from transformers import LlamaConfig

from bench.config.loading import load, read_files
from bench.sources import HubSource, SourceError, fetch
from bench.tools import pin

REPOSITORY = "somebody/thing"
CONTENT = {
    "config.json": b"{}",
    "deep/data.jsonl": b'{"a": 1}\n',
    "model.safetensors": bytes(range(100)),
    "weights.bin": b"w" * 50,
}
WANTED = {"config.json", "deep/data.jsonl", "model.safetensors"}


@pytest.fixture
def hub(tmp_path, monkeypatch):
    hub = Hub({REPOSITORY: CONTENT})
    with hub.serving(monkeypatch, tmp_path / "cache"):
        yield hub


def source(**changes) -> HubSource:
    return HubSource(**{"source": "hub", "repository": REPOSITORY, "revision": REVISION} | changes)


def refused(spec: HubSource, tmp_path, *words: str):
    with pytest.raises(SourceError) as error:
        fetch(spec, tmp_path / "parent" / "out")
    for word in (spec.repository, spec.revision, *words):
        assert word in str(error.value)
    assert "\n" not in str(error.value)
    assert list((tmp_path / "parent").iterdir()) == []


def test_files_are_links_into_the_cache(hub, tmp_path):
    manifest = fetch(source(), tmp_path / "out")
    assert set(manifest["files"]) == WANTED
    for name, record in manifest["files"].items():
        path = tmp_path / "out" / name
        assert path.is_symlink()
        assert path.resolve().is_relative_to(tmp_path / "cache")
        assert path.read_bytes() == CONTENT[name]
        assert record["sha256"] == hashlib.sha256(CONTENT[name]).hexdigest()
    assert manifest["source"]["revision"] == REVISION
    assert not list((tmp_path / "cache").rglob("weights.bin"))


def test_a_data_set(hub, tmp_path):
    manifest = fetch(source(repository_type="dataset", files=["deep/*"]), tmp_path / "out")
    assert set(manifest["files"]) == {"deep/data.jsonl"}


def test_nothing_matches(hub, tmp_path):
    with pytest.raises(SourceError, match=r"no file matches \*\.parquet"):
        fetch(source(files=["*.parquet"]), tmp_path / "out")


def test_a_download_that_breaks_off_goes_on_where_it_stopped(hub, tmp_path, monkeypatch):
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 10)
    monkeypatch.setattr("huggingface_hub.file_download.time", SimpleNamespace(sleep=lambda _: None))
    hub.cut["model.safetensors"] = 60
    manifest = fetch(source(files=["model.safetensors"]), tmp_path / "out")
    content = CONTENT["model.safetensors"]
    assert (tmp_path / "out" / "model.safetensors").read_bytes() == content
    assert manifest["files"]["model.safetensors"]["sha256"] == hashlib.sha256(content).hexdigest()
    assert hub.downloads == [("model.safetensors", 0), ("model.safetensors", 60)]


def test_files_that_are_there_are_not_fetched_again(hub, tmp_path):
    hub.missing = {"model.safetensors"}
    refused(source(), tmp_path)
    hub.missing = set()
    hub.downloads.clear()
    assert set(fetch(source(), tmp_path / "out")["files"]) == WANTED
    assert hub.downloads == [("model.safetensors", 0)]


def test_missing_file(hub, tmp_path):
    hub.missing = {"model.safetensors"}
    refused(source(), tmp_path, "model.safetensors is listed and not there")


@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
def test_wrong_digest(hub, tmp_path, name):
    hub.sent[name] = CONTENT[name][::-1]
    refused(source(), tmp_path, f"{name}: its digest is", "remove", "and start again")
    # What was downloaded is still there, and as wrong.
    refused(source(), tmp_path, f"{name}: its digest is")
    del hub.sent[name]
    for blob in (tmp_path / "cache").rglob("blobs/*"):
        if blob.read_bytes() == CONTENT[name][::-1]:
            blob.unlink()
    fetch(source(), tmp_path / "out")


def test_without_network_the_cache_is_enough(hub, tmp_path, monkeypatch):
    before = fetch(source(), tmp_path / "out")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert fetch(source(), tmp_path / "again") == before


def test_without_network_and_cache(hub, tmp_path, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    refused(source(), tmp_path, "cannot be reached")


def test_without_network_and_with_half_a_cache(hub, tmp_path, monkeypatch):
    hub.missing = {"model.safetensors"}
    refused(source(), tmp_path)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    refused(source(), tmp_path, "cannot be reached")


def test_missing_repository(hub, tmp_path):
    refused(source(repository="somebody/else"), tmp_path, "no such repository")


def test_missing_revision(hub, tmp_path):
    refused(source(revision="f" * 40), tmp_path, "no such revision")


def test_revision_to_be_filled_in(hub, tmp_path):
    refused(source(revision="0" * 40), tmp_path, "not filled in; allowed: a commit")
    assert hub.downloads == []


def test_gated_repository(hub, tmp_path):
    hub.gated = {REPOSITORY}
    refused(source(), tmp_path, "access must be asked for on its page, then log in (`hf auth`)")


@pytest.mark.parametrize("revision", ["main", "v1.0", REVISION[:39], REVISION.replace("0", "G")])
def test_only_a_commit_is_a_revision(revision):
    with pytest.raises(ValidationError):
        source(revision=revision)


def test_a_model_is_pinned_with_its_shape(hub, tmp_path, capsys):
    LlamaConfig(head_dim=64).save_pretrained(tmp_path)
    hub.files["somebody/Thing-1B"] = {"config.json": (tmp_path / "config.json").read_bytes()}
    pin.main(["somebody/Thing-1B"])
    entry = yaml.safe_load(capsys.readouterr().out)
    values = read_files([])
    update_config(values, entry)
    model = load(values).models["thing-1b"]
    assert (model.source.repository, model.source.revision) == ("somebody/Thing-1B", REVISION)
    assert (model.shape.blocks, model.shape.head_dim, model.shape.tied) == (32, 64, False)


def test_data_are_pinned_and_a_model_of_another_kind_has_no_shape(hub, capsys):
    pin.main([REPOSITORY, "--dataset"])
    (source,) = yaml.safe_load(capsys.readouterr().out)["sources"].values()
    assert HubSource(**source).revision == REVISION
    pin.main([REPOSITORY, "--revision", REVISION])
    (model,) = yaml.safe_load(capsys.readouterr().out)["models"].values()
    assert model.keys() == {"source"}


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["somebody/else"], "hub somebody/else at main: no such repository, or a private one"),
        ([REPOSITORY, "--revision", "v2"], f"hub {REPOSITORY} at v2: no such revision"),
    ],
)
def test_what_cannot_be_pinned_is_one_line(hub, capsys, arguments, reason):
    with pytest.raises(SystemExit) as exit_:
        pin.main(arguments)
    assert exit_.value.code == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(reason)
