"""The whole DAG on a tiny model made on the fly; nothing is asked of the network."""

import pytest
from project import Project, offline


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
