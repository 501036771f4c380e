"""Results in the formats of others, read by the package that is meant to read them."""

import json
import os
import subprocess
import sys
import zipfile

import pytest

# It asks for Python 3.12; what is used of it runs on 3.11, too.
PACKAGE, PYTHON = "every-eval-ever==0.3.0", "3.12"


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    """Run the command of Every Eval Ever, out of its wheel; what it says."""
    folder = tmp_path_factory.mktemp("every-eval-ever")
    pip = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary", ":all:"]
    subprocess.run([*pip, "--python-version", PYTHON, "--dest", folder, PACKAGE], check=True)
    (wheel,) = folder.glob("*.whl")
    zipfile.ZipFile(wheel).extractall(folder / "modules")
    environment = os.environ | {"PYTHONPATH": str(folder / "modules")}

    def command(*arguments) -> str:
        call = [sys.executable, "-m", "every_eval_ever", *arguments]
        return subprocess.run(
            call, env=environment, cwd=folder, check=True, capture_output=True, text=True
        ).stdout

    return command


def validated(package, folder) -> list[dict]:
    """The reports on all files of a folder; warnings make the command fail, too."""
    reports = json.loads(package("validate", "--format", "json", f"{folder}/data/*/*/*/*.json*"))
    assert all(report["valid"] and not report["warnings"] for report in reports)
    return reports


def exported(run, form):
    subprocess.run(
        [sys.executable, "-m", "bench", "export", "results", "--to", form],
        cwd=run.folder,
        env=run.environment,
        check=True,
    )
    return run.folder / "results/export" / form


def test_the_shared_schema_holds_every_cell(run, package):
    reports = validated(package, exported(run, "every-eval-ever"))
    assert len(reports) == len(run.table())


def test_files_of_lm_eval_are_converted(run, package, tmp_path):
    source = ["--log_path", exported(run, "lm-eval"), "--include_samples"]
    package("convert", "lm_eval", *source, "--output_dir", tmp_path / "data")
    # Of each cell and task the scores, and the items.
    assert len(validated(package, tmp_path)) == len(run.table()) * 4 * 2
