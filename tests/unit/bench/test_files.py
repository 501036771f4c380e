"""What may be removed or replaced."""

from pathlib import Path

import pytest

from bench.files import remove, whole


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
