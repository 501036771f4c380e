"""Local folders and files, and what importing the package costs."""

import hashlib
import subprocess
import sys

import pytest
from pydantic import TypeAdapter, ValidationError

from bench.origin import verify
from bench.sources import PathSource, Source, SourceError, fetch


@pytest.fixture
def origin(tmp_path):
    folder = tmp_path / "origin"
    (folder / "deep").mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    (folder / "deep" / "data.jsonl").write_text("{}\n")
    (folder / "notes.md").write_text("no pattern matches this")
    (folder / "manifest.json").write_text("of an earlier fetch")
    (folder / "stage.json").write_text("of the user's own")
    return folder


def test_a_folder_is_linked(origin, tmp_path):
    manifest = fetch(PathSource(source="path", path=origin), tmp_path / "out")
    assert set(manifest["files"]) == {"config.json", "deep/data.jsonl"}
    assert manifest["files"]["config.json"]["sha256"] == hashlib.sha256(b"{}").hexdigest()
    assert (tmp_path / "out" / "deep" / "data.jsonl").resolve() == origin / "deep" / "data.jsonl"
    assert (origin / "manifest.json").read_text() == "of an earlier fetch"
    assert verify(tmp_path / "out")["made_from"]["source"]["path"] == str(origin)


@pytest.mark.parametrize("name", ["manifest.json", "stage.json"])
def test_a_file_that_is_named_as_our_own_is_refused(origin, name):
    with pytest.raises(ValidationError, match="a file with another name than"):
        PathSource(source="path", path=str(origin / name))


def test_what_no_manifest_names_is_not_fetched(origin, tmp_path):
    for name in (".seen.json", ".ipynb_checkpoints/data.jsonl"):
        (origin / name).parent.mkdir(exist_ok=True)
        (origin / name).write_text("{}\n")
    manifest = fetch(PathSource(source="path", path=origin), tmp_path / "out")
    linked = [path for path in (tmp_path / "out").rglob("*") if path.is_symlink()]
    assert {path.relative_to(tmp_path / "out").as_posix() for path in linked} == set(
        manifest["files"]
    )
    with pytest.raises(SourceError, match=r"\.seen\.json: is hidden; allowed: "):
        fetch(PathSource(source="path", path=origin / ".seen.json"), tmp_path / "hidden")


def test_replacing_links_leaves_their_targets(origin, tmp_path):
    for _ in range(2):
        fetch(PathSource(source="path", path=origin), tmp_path / "out")
    assert (origin / "config.json").read_text() == "{}"


def test_a_file_is_linked(origin, tmp_path):
    manifest = fetch(PathSource(source="path", path=origin / "notes.md"), tmp_path / "out")
    assert set(manifest["files"]) == {"notes.md"}


def test_missing_path(tmp_path):
    with pytest.raises(SourceError, match="nowhere: no such file or folder"):
        fetch(PathSource(source="path", path=tmp_path / "nowhere"), tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_no_file_matches(origin, tmp_path):
    spec = PathSource(source="path", path=origin, files=["*.parquet"])
    with pytest.raises(SourceError, match=r"origin: no file matches \*.parquet"):
        fetch(spec, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_key_source_decides():
    adapter = TypeAdapter(Source)
    assert isinstance(adapter.validate_python({"source": "path", "path": "x"}), PathSource)
    with pytest.raises(ValidationError, match="'pypi', 'pypi-parts', 'hub', 'path', 'synthetic'"):
        adapter.validate_python({"source": "cloud", "path": "x"})


def test_importing_is_cheap():
    heavy = {"torch", "transformers", "huggingface_hub", "requests", "numpy"}
    code = f"import sys, bench.sources, bench.data; sys.exit(str({heavy} & set(sys.modules)))"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert answer.stderr.strip() == "set()"
