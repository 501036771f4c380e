import hashlib
import json
import os

import pytest

from baselines.imports import ROOT, imported
from baselines.repair import REPAIRS
from bench.jobs.listings import DECIDES_NOTHING, list_code, list_local


@pytest.fixture
def project(tmp_path):
    root = tmp_path / "project"
    (root / "methods").mkdir(parents=True)
    for name in ("one", "two"):
        (root / f"methods/{name}.py").write_text(f"# {name}\n")
    return root


@pytest.fixture
def listing(project, tmp_path):
    path = tmp_path / "run/code/method.sha256"
    list_code(path, [project / "methods/two.py", "methods/one.py", "methods/two.py"], project)
    # Long ago, so that it is told from one that is written now.
    os.utime(path, (1, 1))
    return path


def is_written(listing):
    return listing.stat().st_mtime > 1


def test_each_file_once_with_its_digest_in_the_format_of_sha256sum(project, listing):
    lines = []
    for name in ("one", "two"):
        content = (project / f"methods/{name}.py").read_bytes()
        lines.append(f"{hashlib.sha256(content).hexdigest()}  methods/{name}.py\n")
    assert listing.read_text() == "".join(lines)


def test_it_is_written_anew_when_a_file_changes(project, listing):
    (project / "methods/one.py").write_text("# edited\n")
    list_code(listing, ["methods/one.py", "methods/two.py"], project)
    assert is_written(listing)


def test_it_is_written_anew_when_a_file_comes_in(project, listing):
    (project / "methods/three.py").write_text("")
    list_code(listing, ["methods/one.py", "methods/three.py", "methods/two.py"], project)
    assert is_written(listing)


def test_it_is_left_alone_when_only_the_time_of_a_file_changes(project, listing):
    os.utime(project / "methods/one.py")
    list_code(listing, ["methods/one.py", "methods/two.py"], project)
    assert not is_written(listing)


@pytest.mark.parametrize(
    ("script", "decides", "does_not"),
    [
        (
            "repair",
            {"bench/training/trainer.py", "bench/jobs/measure.py", "bench/jobs/outcome.py"},
            {"bench/evaluation/packed.py", "bench/jobs/job.py", "baselines/repair/lora.py"},
        ),
        (
            "prune",
            {"baselines/pruning/driver.py", "bench/models/loading.py"},
            {"baselines/pruning/wanda.py", "bench/training/trainer.py"},
        ),
        (
            "evaluate",
            {"bench/evaluation/packed.py", "bench/models/merging.py", "bench/records/history.py"},
            {"bench/training/trainer.py", "bench/tables/table1.py"},
        ),
        (
            "collect",
            {"bench/statistics/bootstrap.py", "bench/claims/verdicts.py"},
            {"bench/figures/style.py", "bench/evaluation/packed.py"},
        ),
    ],
)
def test_what_decides_a_job_follows_from_the_imports_of_its_script(script, decides, does_not):
    files = imported([ROOT / f"workflow/scripts/{script}.py"], DECIDES_NOTHING)
    found = {path.relative_to(ROOT).as_posix() for path in files}
    assert decides <= found
    assert not does_not & found


def test_a_method_is_decided_by_its_module_and_not_by_another_ones():
    found = {path.relative_to(ROOT).as_posix() for path in imported([REPAIRS.file("seft")])}
    assert {"baselines/repair/seft.py", "seft/evolver.py", "seft/storage/__init__.py"} <= found
    assert not {"baselines/repair/lora.py", "baselines/repair/spp.py"} & found


@pytest.fixture
def local(tmp_path):
    """Two files of the user's own, listed long ago."""
    files = [tmp_path / name for name in ("model.safetensors", "config.json")]
    for file in files:
        file.write_text(file.name)
    listing = tmp_path / "run/local.json"
    list_local(listing, files)
    os.utime(listing, (1, 1))
    return listing, files


def test_local_files_that_were_only_touched_leave_the_listing_its_time(local):
    listing, files = local
    os.utime(files[0], (5, 5))
    list_local(listing, files)
    assert not is_written(listing)
    # The new time is known from now on.
    digest = hashlib.sha256(files[0].read_bytes()).hexdigest()
    entry = {"bytes": 17, "time": 5_000_000_000, "sha256": digest}
    assert json.loads(listing.read_text())[str(files[0])] == entry


@pytest.mark.parametrize("time", [1, 2**31], ids=["older", "newer"])
def test_a_local_file_that_changed_makes_the_listing_new(local, time):
    listing, files = local
    files[1].write_text("{}")
    os.utime(files[1], (time, time))
    list_local(listing, files)
    assert is_written(listing)


@pytest.mark.parametrize("text", ["", "[]", '{"a": 3}'])
def test_a_damaged_listing_is_made_new(local, text):
    listing, files = local
    found = listing.read_text()
    listing.write_text(text)
    list_local(listing, files)
    assert listing.read_text() == found


def test_a_local_file_that_is_gone_makes_the_listing_new(local):
    listing, files = local
    list_local(listing, files[:1])
    assert is_written(listing)
