"""The workflow as a part of another one, and where tools that deploy workflows look for it."""

import pytest

OUTER = """
from pathlib import Path

configfile: Path(workflow.current_basedir) / "project/config/config.yaml"

module repair:
    snakefile: "project/Snakefile"
    config: config

use rule * from repair as repair_*
"""
TARGET = "resources/tokens/tiny/train.safetensors"


@pytest.fixture(params=["module of another workflow", "workflow/Snakefile"])
def snakefile(request, project):
    if request.param == "workflow/Snakefile":
        return project.folder / "workflow/Snakefile"
    outer = project.folder.parent / "Snakefile"
    outer.write_text(OUTER)
    return outer


def test_it_finds_its_packages_and_its_scripts(project, snakefile):
    answer = project.run(TARGET, "--snakefile", str(snakefile))
    assert answer.returncode == 0, answer.stdout
    assert (project.folder / TARGET).is_file()
    planned = project.planned("results/table1.csv", "--snakefile", str(snakefile))
    assert len([job for job in planned if job.startswith("Evaluate tiny (")]) == 18
