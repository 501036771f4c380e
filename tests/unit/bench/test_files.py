"""Files that outlive kills and power cuts, and files that are damaged."""

import errno
import os
import signal
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path

import pandas as pd
import pytest

from bench.files import (
    UnreadableError,
    read_json,
    read_json_lines,
    read_table,
    remove,
    whole,
    write_csv,
    write_json,
    write_json_lines,
)

WRITES = """
import sys
from bench.files import whole
with whole(sys.argv[1]) as temporary:
    temporary.mkdir()
    (temporary / "part").write_text("half")
    print("written", flush=True)
    sys.stdin.read()
"""


def test_what_a_killed_process_left_is_removed_by_the_next_that_writes_the_same(tmp_path):
    command = [sys.executable, "-c", WRITES, str(tmp_path / "tiny")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"written\n"
        process.kill()
    assert process.returncode == -signal.SIGKILL
    assert [path.name for path in tmp_path.iterdir()] == [f".tiny.{process.pid}.tmp"]
    # What others write now.
    others = {".tiny.v2.7.tmp", ".tiny", "tiny.7.tmp"}
    for name in others:
        (tmp_path / name).write_text("x")
    with whole(tmp_path / "tiny") as temporary:
        temporary.write_text("all")
    assert {path.name for path in tmp_path.iterdir()} == {"tiny", *others}


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="tells files by /proc")
def test_what_is_written_is_on_the_disk_before_it_has_its_name(tmp_path, monkeypatch):
    done, fsync, replace = [], os.fsync, Path.replace

    def flushed(descriptor):
        done.append(Path(f"/proc/self/fd/{descriptor}").readlink().relative_to(tmp_path))
        fsync(descriptor)

    def renamed(path, target):
        done.append("renamed")
        return replace(path, target)

    monkeypatch.setattr(os, "fsync", flushed)
    monkeypatch.setattr(Path, "replace", renamed)
    with whole(tmp_path / "base") as folder:
        (folder / "parts").mkdir(parents=True)
        for name in ("weights", "parts/0"):
            (folder / name).write_text(name)
        (folder / "link").symlink_to("/usr")
    written = Path(folder.name)
    before = {written, written / "weights", written / "parts", written / "parts/0"}
    assert set(done[:4]) == before
    assert done[4:] == ["renamed", Path()]
    done.clear()
    write_json(tmp_path / "a.json", 1)
    assert done == [Path(f".a.json.{os.getpid()}.tmp"), "renamed", Path()]


@pytest.mark.parametrize(
    ("number", "raised"), [(errno.EINVAL, False), (errno.EBADF, False), (errno.EIO, True)]
)
def test_a_system_that_flushes_no_folder_is_no_error_and_a_broken_disk_is(
    tmp_path, monkeypatch, number, raised
):
    def refuse(descriptor):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(OSError, match="error") if raised else nullcontext():
        write_json(tmp_path / "a.json", 1)
    assert (tmp_path / "a.json").exists() != raised


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b'{"cell": "a', "no JSON: Unterminated string"),
        (b"", "no JSON: Expecting value"),
        (b'{"\xff": 1}', "no JSON: 'utf-8' codec"),
        (b"[" * 100_000, "no JSON: maximum recursion depth"),
        (b"1" * 5000, "no JSON: Exceeds the limit"),
    ],
)
def test_a_file_that_is_no_json_is_named_in_one_line(tmp_path, content, said):
    path = tmp_path / "record.json"
    path.write_bytes(content)
    with pytest.raises(UnreadableError) as raised:
        read_json(path)
    assert str(raised.value).startswith(f"{path}: {said}")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("kept", [0, 1, 0.5, 0.99])
def test_packed_lines_that_are_cut_are_named(tmp_path, kept):
    path = tmp_path / "a.gz"
    write_json_lines(path, [{"task": "a", "id": str(i)} for i in range(99)])
    size = path.stat().st_size
    os.truncate(path, int(kept * size) if kept != 1 else 1)
    if not kept:
        # As `: > file` leaves it: nothing to unpack, and no line.
        assert read_json_lines(path) == []
        return
    with pytest.raises(UnreadableError, match="cannot be unpacked"):
        read_json_lines(path)


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A working folder two levels down, with a file beside it and one in it."""
    folder = tmp_path / "above/project"
    (folder / "resources/models").mkdir(parents=True)
    (folder / "docs").mkdir()
    (folder / "docs/a.md").write_text("a")
    monkeypatch.chdir(folder)
    return folder


UPWARDS = ["resources/models/..", "resources/models/../../docs", ".", "..", "/", "", "docs/../docs"]


@pytest.mark.parametrize("path", UPWARDS)
def test_nothing_is_removed_by_a_path_that_leads_upwards(project, path):
    with pytest.raises(ValueError, match="not removed; allowed: a path that does not lead upwards"):
        remove(Path(path))
    with pytest.raises(ValueError, match="not removed"), whole(path) as temporary:
        temporary.mkdir()
    assert (project / "docs/a.md").is_file()
    assert (project / "resources/models").is_dir()


def test_the_working_folder_and_those_above_it_stay(project):
    for folder in (project, *project.parents):
        with pytest.raises(ValueError, match="not removed"):
            remove(folder)
    assert (project / "docs/a.md").is_file()


def test_folders_below_are_removed_and_replaced(project):
    with whole("resources/models/tiny") as temporary:
        temporary.mkdir()
    remove(project / "resources/models/tiny")
    assert not list((project / "resources/models").iterdir())


def test_the_names_of_a_table_stay_text_whatever_they_look_like(tmp_path):
    rows = [{"model": "1.50", "repair": "NA/lora", "origin": "NA", "mean": 0.5}]
    write_csv(tmp_path / "table.csv", pd.DataFrame(rows))
    assert read_table(tmp_path / "table.csv").to_dict("records") == rows
