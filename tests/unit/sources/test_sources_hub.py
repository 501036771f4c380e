"""The hub's client against a stand-in of the hub on the loopback interface."""

import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from huggingface_hub import constants
from pydantic import ValidationError

from bench.sources import HubSource, SourceError, fetch

REPOSITORY = "somebody/thing"
REVISION = "0123456789" * 4
CONTENT = {"config.json": b"{}", "deep/data.jsonl": b'{"a": 1}\n', "weights.bin": b"w" * 50}


class Handler(BaseHTTPRequestHandler):
    """One model repository at one commit; `somebody/closed` is gated."""

    def answer(self):
        tree = f"/api/models/{REPOSITORY}/tree/{REVISION}"
        files = f"/{REPOSITORY}/resolve/{REVISION}/"
        path = self.path.partition("?")[0]
        if "closed" in path:
            self.send(403, b"{}", {"X-Error-Code": "GatedRepo"})
        elif REPOSITORY not in path:
            self.send(404, b"{}", {"X-Error-Code": "RepoNotFound"})
        elif path == tree:
            rows = [
                {"type": "file", "path": name, "size": len(content), "oid": "0" * 40}
                for name, content in CONTENT.items()
            ]
            self.send(200, json.dumps(rows).encode(), {"Content-Type": "application/json"})
        elif path.startswith(files):
            content = CONTENT[path.removeprefix(files)]
            etag = hashlib.sha1(content).hexdigest()
            self.send(200, content, {"ETag": f'"{etag}"', "X-Repo-Commit": REVISION})
        else:
            self.send(404, b"{}", {"X-Error-Code": "RevisionNotFound"})

    def do_GET(self):
        self.answer()

    def do_HEAD(self):
        self.answer()

    def send(self, status: int, body: bytes, headers: dict[str, str]):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_message(self, *args):
        pass


@pytest.fixture
def hub(tmp_path, monkeypatch):
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    url = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setattr(constants, "ENDPOINT", url)
    monkeypatch.setattr(
        constants, "HUGGINGFACE_CO_URL_TEMPLATE", url + "/{repo_id}/resolve/{revision}/{filename}"
    )
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    yield
    server.shutdown()
    server.server_close()
    thread.join()


def source(**changes) -> HubSource:
    return HubSource(**{"source": "hub", "repository": REPOSITORY, "revision": REVISION} | changes)


def refused(spec: HubSource, tmp_path, *words: str):
    with pytest.raises(SourceError) as error:
        fetch(spec, tmp_path / "parent" / "out")
    for word in words:
        assert word in str(error.value)
    assert "\n" not in str(error.value)
    assert list((tmp_path / "parent").iterdir()) == []


def test_files_are_links_into_the_cache(hub, tmp_path):
    manifest = fetch(source(), tmp_path / "out")
    assert set(manifest.files) == {"config.json", "deep/data.jsonl"}
    for name, record in manifest.files.items():
        path = tmp_path / "out" / name
        assert path.is_symlink()
        assert path.resolve().is_relative_to(tmp_path / "cache")
        assert path.read_bytes() == CONTENT[name]
        assert record.sha256 == hashlib.sha256(CONTENT[name]).hexdigest()
    assert manifest.source["revision"] == REVISION
    assert not list((tmp_path / "cache").rglob("weights.bin"))


def test_patterns_choose_the_files(hub, tmp_path):
    manifest = fetch(source(files=["deep/*"]), tmp_path / "out")
    assert set(manifest.files) == {"deep/data.jsonl"}


def test_nothing_matches(hub, tmp_path):
    refused(source(files=["*.parquet"]), tmp_path, "*.parquet")


def test_without_network_the_cache_is_enough(hub, tmp_path, monkeypatch):
    before = fetch(source(), tmp_path / "out")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert fetch(source(), tmp_path / "again") == before


def test_without_network_and_cache(hub, tmp_path, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    refused(source(), tmp_path, REPOSITORY, REVISION, "cannot be reached")


def test_missing_repository(hub, tmp_path):
    refused(source(repository="somebody/else"), tmp_path, "somebody/else", "no such repository")


def test_missing_revision(hub, tmp_path):
    refused(source(revision="f" * 40), tmp_path, REPOSITORY, "f" * 40, "no such revision")


def test_gated_repository(hub, tmp_path):
    refused(source(repository="somebody/closed"), tmp_path, "somebody/closed", "access")


@pytest.mark.parametrize("revision", ["main", "v1.0", REVISION[:39], REVISION.replace("0", "G")])
def test_only_a_commit_is_a_revision(revision):
    with pytest.raises(ValidationError):
        source(revision=revision)
