"""Snakemake, run in a copy of the project."""

import copy
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from multiprocessing.connection import wait
from pathlib import Path
from tempfile import NamedTemporaryFile

import pandas as pd
import yaml
from forks import exit_status, forking_python, start_python

ROOT = Path(__file__).resolve().parents[1]
PARTS = (
    "Snakefile",
    "environment.yml",
    "baselines",
    "bench",
    "config",
    "profiles",
    "seft",
    "workflow",
)
MEASURED = r"_seconds$|_waited_percent$|_memory_mib"
# No run takes that long, in seconds.
LIMIT = 1800


class Project:
    """A copy of the project's sources, in which Snakemake runs.

    Args:
        folder: the copy to make.
        configuration: configuration files, laid over the default one.
        forks: let jobs be forks of a process that has imported the libraries (see forks).
        environment: variables to set beside the inherited ones.

    Attributes:
        where: Snakemake's options that say where jobs run.
    """

    def __init__(
        self,
        folder: Path,
        configuration: Sequence[str] = (),
        forks: bool = False,
        **environment: str,
    ):
        self.folder = folder
        self.forks = forks
        self.configuration = configuration
        self.where = ["--cores", "2"]
        # The modules are to be those of the copy.
        inherited = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
        self.environment = {**inherited, **environment}
        folder.mkdir()
        for part in PARTS:
            origin = ROOT / part
            if origin.is_dir():
                shutil.copytree(origin, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy2(origin, folder / part)

    def copy(self, folder: Path) -> "Project":
        """The project as it is now, results included, in another folder."""
        shutil.copytree(self.folder, folder)
        other = copy.copy(self)
        other.folder = folder
        return other

    def command(self, *arguments: str, **laid_over) -> list[str]:
        """The command of a run, for a process that a test starts itself."""
        return [sys.executable, "-m", "snakemake", *self._options(*arguments, **laid_over)]

    def run(self, *arguments: str, **laid_over) -> subprocess.CompletedProcess:
        """Run Snakemake in the folder; its output is one text."""
        return self.module("snakemake", *self._options(*arguments, **laid_over))

    def _options(
        self, *arguments: str, changes: dict | None = None, files: Sequence[str] = ()
    ) -> list[str]:
        files = [*self.configuration, *files]
        if changes is not None:
            (self.folder / "changes.yaml").write_text(yaml.safe_dump(changes))
            files.append("changes.yaml")
        return [*self.where, *arguments, "--configfile", *files]

    def module(self, *arguments) -> subprocess.CompletedProcess:
        """Run a module of Python in the folder, by its name; its output is one text."""
        arguments = ["-m", *map(str, arguments)]
        python = forking_python() if self.forks else None
        with NamedTemporaryFile("r") as output:
            said = Path(output.name)
            run = start_python(arguments, self.folder, self.environment, said, said, python)
            if not wait([run.sentinel], LIMIT):
                run.kill()
                raise subprocess.TimeoutExpired(arguments, LIMIT, output.read())
            return subprocess.CompletedProcess(arguments, exit_status(run), output.read())

    def planned(self, *arguments: str, **laid_over) -> list[str]:
        """Messages of the jobs that a dry run would run."""
        answer = self.run("--dry-run", *arguments, **laid_over)
        assert answer.returncode == 0, answer.stdout
        return sorted(re.findall(r"^Job \d+: (.*)$", answer.stdout, re.MULTILINE))

    def table(self) -> pd.DataFrame:
        return pd.read_csv(self.folder / "results/table1.csv")

    def numbers(self) -> pd.DataFrame:
        """The table without what differs between two runs: seconds and memory."""
        table = self.table()
        return table.loc[:, ~table.columns.str.contains(MEASURED)]


def offline(folder: Path) -> Project:
    """A project with the smoke grid, in which nothing can be asked of the network."""
    return Project(
        folder,
        ["config/smoke.yaml"],
        forks=True,
        HF_HUB_OFFLINE="1",
        PIP_INDEX_URL="http://127.0.0.1:9/",
    )
