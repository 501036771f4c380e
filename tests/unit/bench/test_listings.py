import hashlib
import os

import pytest

from bench.jobs.listings import list_code


@pytest.fixture
def project(tmp_path):
    root = tmp_path / "project"
    (root / "methods").mkdir(parents=True)
    for name in ("one", "two"):
        (root / f"methods/{name}.py").write_text(f"# {name}\n")
    return root


@pytest.fixture
def listing(project, tmp_path):
    path = tmp_path / "run/code/method.sha256"
    list_code(path, [project / "methods/two.py", "methods/one.py", "methods/two.py"], project)
    # Long ago, so that it is told from one that is written now.
    os.utime(path, (1, 1))
    return path


def is_written(listing):
    return listing.stat().st_mtime > 1


def test_each_file_once_with_its_digest_in_the_format_of_sha256sum(project, listing):
    lines = []
    for name in ("one", "two"):
        content = (project / f"methods/{name}.py").read_bytes()
        lines.append(f"{hashlib.sha256(content).hexdigest()}  methods/{name}.py\n")
    assert listing.read_text() == "".join(lines)


def test_it_is_written_anew_when_a_file_changes(project, listing):
    (project / "methods/one.py").write_text("# edited\n")
    list_code(listing, ["methods/one.py", "methods/two.py"], project)
    assert is_written(listing)


def test_it_is_written_anew_when_a_file_comes_in(project, listing):
    (project / "methods/three.py").write_text("")
    list_code(listing, ["methods/one.py", "methods/three.py", "methods/two.py"], project)
    assert is_written(listing)


def test_it_is_left_alone_when_only_the_time_of_a_file_changes(project, listing):
    os.utime(project / "methods/one.py")
    list_code(listing, ["methods/one.py", "methods/two.py"], project)
    assert not is_written(listing)
