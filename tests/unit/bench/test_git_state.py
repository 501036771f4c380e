"""Which changes of a working tree count as changes of what decides results."""

import subprocess

import pytest

from bench.jobs.provenance import git_state


@pytest.fixture
def checkout(tmp_path):
    def git(*arguments):
        identity = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
        subprocess.run(["git", *identity, *arguments], cwd=tmp_path, check=True)

    (tmp_path / "bench").mkdir()
    (tmp_path / "bench/code.py").write_text("1\n")
    (tmp_path / "README.md").write_text("text\n")
    git("init", "--quiet")
    git("add", ".")
    git("commit", "--quiet", "--message", "first")
    return tmp_path


@pytest.mark.parametrize(
    ("path", "dirty"),
    [
        ("models/mine/config.json", False),
        ("notes.jsonl", False),
        (".venv", False),
        ("grid.yaml", False),
        ("README.md", True),
        ("bench/code.py", True),
        ("bench/new.py", True),
        ("baselines/repair/mine.py", True),
        ("config/tasks/mine.yaml", True),
    ],
)
def test_only_what_decides_a_result_counts(checkout, path, dirty):
    assert git_state(checkout / "bench")["dirty"] is False
    (checkout / path).parent.mkdir(parents=True, exist_ok=True)
    (checkout / path).write_text("changed\n")
    assert git_state(checkout / "bench")["dirty"] is dirty
