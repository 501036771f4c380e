"""The workflow as a part of another one, and where tools that deploy workflows look for it."""

import shutil

import pytest

OUTER = """
from pathlib import Path

configfile: Path(workflow.current_basedir) / "project/config/config.yaml"

module repair:
    snakefile: "project/Snakefile"
    config: config

use rule * from repair as repair_*
"""
CHECKED = "resources/data/manifest.json"
TARGET = "resources/tokens/tiny/train.safetensors"


@pytest.fixture(params=["module of another workflow", "workflow/Snakefile"])
def snakefile(request, fetched):
    if request.param == "workflow/Snakefile":
        return fetched.folder / "workflow/Snakefile"
    outer = fetched.folder.parent / "Snakefile"
    outer.write_text(OUTER)
    return outer


def test_it_finds_its_packages_and_its_scripts(fetched, snakefile):
    """A data set, a checkpoint and what waits for it stand for all scripts."""
    shutil.rmtree(fetched.folder / "resources/data/squad")
    for made in (CHECKED, TARGET):
        (fetched.folder / made).unlink()
    answer = fetched.run(TARGET, "--snakefile", str(snakefile))
    assert answer.returncode == 0, answer.stdout
    assert (fetched.folder / TARGET).is_file()
    planned = fetched.planned("results/table1.csv", "--snakefile", str(snakefile))
    assert len([job for job in planned if job.startswith("Evaluate tiny (")]) == 18
