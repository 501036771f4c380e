"""The embedded model and data, with few steps and items."""

import shutil

import pytest
from project import ROOT, Project

SHORT = {
    "grid": {"pruners": ["wanda"], "repairs": ["none", "full", "lora", "lora-dense", "seft"]},
    "calibration": {"samples": 4},
    "training": {"steps": 12},
    "repair": {"seft": {"evolve_every": 3, "accumulate_steps": 1}},
    "evaluation": {
        "tasks": {
            "social_iqa": {"limit": 30},
            "winogrande": {"limit": 30},
            "science": {"limit": 30},
            "wiki": {"limit": 4},
        }
    },
}
# So few items are within three standard errors of what many give.
BAND = {"wiki": [12, 24], "social_iqa": [15, 72], "winogrande": [30, 88], "science": [10, 66]}


@pytest.fixture(scope="session")
def run(tmp_path_factory) -> Project:
    """The project with the short grid run once."""
    project = Project(tmp_path_factory.mktemp("real") / "project", HF_HUB_OFFLINE="1")
    # What was fetched into this checkout is not fetched again.
    if (ROOT / "resources/sources").is_dir():
        shutil.copytree(ROOT / "resources/sources", project.folder / "resources/sources")
    changes = {**SHORT, "models": {"smollm2-135m": {"band": BAND}}}
    answer = project.run(changes=changes)
    assert answer.returncode == 0, answer.stdout
    return project
