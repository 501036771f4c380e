"""Each profile plans the grid, whether or not what it runs on is here."""

import pytest
from project import ROOT

PROFILES = sorted(path.parent.name for path in ROOT.glob("profiles/*/config.yaml"))


@pytest.mark.parametrize("profile", PROFILES)
def test_the_grid_is_planned_with_a_profile(project, profile):
    project.where = ["--workflow-profile", f"profiles/{profile}"]
    planned = project.planned()
    evaluated = [job for job in planned if job.startswith("Evaluate tiny (")]
    assert len(evaluated) == 18
