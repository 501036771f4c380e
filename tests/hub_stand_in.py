"""A stand-in of the model hub on the loopback interface: as much of it as its client asks for."""

import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path, PurePosixPath
from urllib.parse import unquote

import pytest
from huggingface_hub import constants

REVISION = "0123456789" * 4
API = re.compile(
    r"/api/(?:models|datasets)/(?P<repository>[^/]+/[^/]+)/(?P<what>tree|revision)"
    r"/(?P<revision>[^/]+)(?:/(?P<name>.+))?"
)
FILE = re.compile(
    r"/(?:datasets/)?(?P<repository>[^/]+/[^/]+)/resolve/(?P<revision>[^/]+)/(?P<name>.+)"
)
# The hub keeps these outside of git, under their SHA-256.
LARGE = (".bin", ".safetensors", ".gz", ".parquet")


def digest(name: str, content: bytes) -> str:
    """What the hub calls a file's content: its SHA-256, or the number that git gives to it."""
    if name.endswith(LARGE):
        return hashlib.sha256(content).hexdigest()
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


class Hub:
    """The repositories of a hub, each at one commit, that of its branch ``main``, and what goes
    wrong with them.

    Attributes:
        files: content by path, of each repository, by its name.
        gated: repositories whose files need a permission.
        sent: other bytes than a file's own, by path.
        missing: paths that are listed and not there.
        cut: how many bytes of a path are sent before the connection breaks, once.
        downloads: path and first byte of each download.
    """

    def __init__(self, files: dict[str, dict[str, bytes]]):
        self.files = files
        self.gated: set[str] = set()
        self.sent: dict[str, bytes] = {}
        self.missing: set[str] = set()
        self.cut: dict[str, int] = {}
        self.downloads: list[tuple[str, int]] = []

    @contextmanager
    def serving(self, monkeypatch: pytest.MonkeyPatch, cache: Path) -> Iterator[None]:
        """Let the client, which keeps its cache at ``cache``, take this hub for the real one."""

        class Bound(Handler):
            hub = self

        server = ThreadingHTTPServer(("127.0.0.1", 0), Bound)
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        url = f"http://127.0.0.1:{server.server_port}"
        resolve = url + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        monkeypatch.setattr(constants, "ENDPOINT", url)
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", resolve)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        try:
            yield
        finally:
            server.shutdown()
            server.server_close()
            thread.join()


class Handler(BaseHTTPRequestHandler):
    hub: Hub

    def do_GET(self):
        path = unquote(self.path.partition("?")[0])
        asked = API.fullmatch(path) or FILE.fullmatch(path)
        if asked is None:
            self.refuse(404, "NotOfferedHere")
            return
        repository, revision, name = asked["repository"], asked["revision"], asked["name"] or ""
        files = self.hub.files.get(repository)
        if files is None:
            self.refuse(404, "RepoNotFound")
        elif revision not in (REVISION, "main"):
            self.refuse(404, "RevisionNotFound")
        elif asked.re is API:
            self.answer(asked["what"], repository, name)
        elif repository in self.hub.gated:
            self.refuse(403, "GatedRepo")
        elif name not in files or name in self.hub.missing:
            self.refuse(404, "EntryNotFound")
        else:
            self.download(name, files[name])

    def do_HEAD(self):
        self.do_GET()

    def answer(self, what: str, repository: str, folder: str):
        """The repository's commit, or what lies in a folder of it."""
        if what == "revision":
            content = {"id": repository, "sha": REVISION}
        else:
            content = [self.row(*file) for file in self.hub.files[repository].items()]
            parents = {p.as_posix() for row in content for p in PurePosixPath(row["path"]).parents}
            content += [{"type": "directory", "path": p, "oid": "0" * 40} for p in parents - {"."}]
            if "recursive=true" not in self.path.lower():
                content = [
                    row for row in content if PurePosixPath(row["path"]).parent == Path(folder)
                ]
        self.send(200, json.dumps(content).encode(), {"Content-Type": "application/json"})

    def row(self, name: str, content: bytes) -> dict:
        row = {"type": "file", "path": name, "size": len(content), "oid": digest(name, content)}
        if name.endswith(LARGE):
            row["lfs"] = {"oid": row["oid"], "size": len(content), "pointerSize": 100}
            row["oid"] = "0" * 40
        return row

    def download(self, name: str, content: bytes):
        headers = {"ETag": f'"{digest(name, content)}"', "X-Repo-Commit": REVISION}
        content = self.hub.sent.get(name, content)
        start = int(re.sub(r"\D", "", self.headers.get("Range", "0")))
        if self.command == "GET":
            self.hub.downloads.append((name, start))
        end = self.hub.cut.pop(name, None) if self.command == "GET" else None
        self.send(206 if start else 200, content[start:], headers, end)

    def refuse(self, status: int, code: str):
        self.send(status, b"{}", {"X-Error-Code": code})

    def send(self, status: int, body: bytes, headers: dict[str, str], end: int | None = None):
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body[:end])

    def log_message(self, *args):
        pass
