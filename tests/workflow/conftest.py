"""The whole DAG, run by Snakemake in a copy of the project, on a tiny model made on the fly."""

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
PARTS = ("Snakefile", "baselines", "bench", "config", "profiles", "seft", "workflow")
MEASURED = r"_seconds$|_memory_mib$"

SMALL = {
    "grid": {"pruners": ["magnitude"], "repairs": ["none", "full", "lora"]},
    "training": {"steps": 4},
}


class Project:
    """A copy of the project's sources, in which Snakemake runs."""

    def __init__(self, folder: Path):
        self.folder = folder
        folder.mkdir()
        for part in PARTS:
            origin = ROOT / part
            if origin.is_dir():
                shutil.copytree(origin, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy2(origin, folder / part)

    def command(
        self, *arguments: str, changes: dict | None = None, files: Sequence[str] = ()
    ) -> list[str]:
        """Snakemake with the smoke configuration and what is laid over it."""
        files = ["config/smoke.yaml", *files]
        if changes is not None:
            (self.folder / "changes.yaml").write_text(yaml.safe_dump(changes))
            files.append("changes.yaml")
        snakemake = [sys.executable, "-m", "snakemake", "--cores", "2"]
        return [*snakemake, *arguments, "--configfile", *files]

    @property
    def environment(self) -> dict[str, str]:
        # Nothing may be found outside the copy, and nothing asked of the network.
        hidden = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
        return {**hidden, "HF_HUB_OFFLINE": "1", "PIP_INDEX_URL": "http://127.0.0.1:9/"}

    def run(self, *arguments: str, **laid_over) -> subprocess.CompletedProcess:
        return subprocess.run(
            self.command(*arguments, **laid_over),
            cwd=self.folder,
            env=self.environment,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=900,
            check=False,
        )

    def planned(self, *arguments: str, changes: dict | None = None) -> list[str]:
        """Messages of the jobs that a dry run would run."""
        answer = self.run("--dry-run", *arguments, changes=changes)
        assert answer.returncode == 0, answer.stdout
        lines = answer.stdout.splitlines()
        return sorted(line.partition(": ")[2] for line in lines if line.startswith("Job "))

    def table(self) -> pd.DataFrame:
        return pd.read_csv(self.folder / "results/table1.csv")

    def numbers(self) -> pd.DataFrame:
        """The table without what differs between two runs: seconds and memory."""
        table = self.table()
        return table.loc[:, ~table.columns.str.contains(MEASURED)]


@pytest.fixture(scope="session")
def smoke(tmp_path_factory) -> Project:
    """The project with the smoke grid run once; tests leave its results as they are."""
    project = Project(tmp_path_factory.mktemp("smoke") / "project")
    answer = project.run()
    assert answer.returncode == 0, answer.stdout
    project.output = answer.stdout
    return project


@pytest.fixture
def project(tmp_path) -> Project:
    """A fresh project, in which nothing has run."""
    return Project(tmp_path / "project")
