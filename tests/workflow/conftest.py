"""The whole DAG on a tiny model made on the fly; nothing is asked of the network."""

import shutil

import pytest
from project import Project, offline

# Runs that many tests look at.
SHARED = ("smoke", "families")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """Tests that share a run are for one process, where several share the tests."""
    for item in items:
        for run in set(SHARED) & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.xdist_group(run))


@pytest.fixture(scope="session")
def smoke(tmp_path_factory) -> Project:
    """The project with the smoke grid run once; tests leave its results as they are."""
    project = offline(tmp_path_factory.mktemp("smoke") / "project")
    answer = project.run()
    assert answer.returncode == 0, answer.stdout
    project.output = answer.stdout
    return project


@pytest.fixture
def project(tmp_path) -> Project:
    """A fresh project, in which nothing has run."""
    return offline(tmp_path / "project")


@pytest.fixture
def fetched(project, smoke) -> Project:
    """A project in which nothing has run but what the smoke grid fetches and tokenizes."""
    shutil.copytree(smoke.folder / "resources", project.folder / "resources")
    return project


@pytest.fixture
def finished(tmp_path, smoke) -> Project:
    """A copy of the project in which the smoke grid has run."""
    return smoke.copy(tmp_path / "project")
