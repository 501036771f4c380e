"""The whole DAG on a tiny model made on the fly; nothing is asked of the network."""

import pickle
import shutil

import pytest
from filelock import FileLock
from project import Project, offline

# Runs that many tests look at.
SHARED = ("smoke", "families")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """Tests that share a run are for one process, where several share the tests.

    Those that go on from a copy of it are for any; those that run all from nothing take longest,
    and begin before them.
    """
    items.sort(key=lambda item: "project" not in getattr(item, "fixturenames", ()))
    for item in items:
        used = set(getattr(item, "fixturenames", ()))
        if not used & {"fetched", "finished"}:
            for run in used & set(SHARED):
                item.add_marker(pytest.mark.xdist_group(run))


@pytest.fixture(scope="session")
def smoke(tmp_path_factory, worker_id) -> Project:
    """The project with the smoke grid run once; tests leave its results as they are.

    The first process that asks for it runs it; each has a copy of its own.
    """
    shared = tmp_path_factory.getbasetemp()
    if worker_id != "master":
        shared = shared.parent
    made = shared / "smoke.pickle"
    with FileLock(shared / "smoke.lock"):
        if not made.exists():
            project = offline(shared / "smoke")
            answer = project.run()
            assert answer.returncode == 0, answer.stdout
            project.output = answer.stdout
            made.write_bytes(pickle.dumps(project))
        project = pickle.loads(made.read_bytes())
        return project.copy(tmp_path_factory.mktemp("smoke") / "project")


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
