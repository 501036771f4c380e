"""What is run again on request: what failed, and what is damaged."""

import os
from pathlib import Path

import pytest
from made_up import made_up_grid

from bench.cells import Cell, base_folder, dense_cell, history_path, record_path, training_folder
from bench.config.loading import load, read_files
from bench.files import read_json_lines, write_json, write_json_lines
from bench.jobs.outcome import STAGE_FILE
from bench.planning.plan import make_plan
from bench.planning.retry import to_retry
from bench.planning.speeds import device_of
from bench.records.history import no_history, write_history

GRID = {"pruners": ["wanda"], "repairs": ["none", "seft"], "seeds": [0]}
SEFT = Cell("tiny", "wanda", "s60", "seft", 0)
RECORD = record_path(SEFT)
SAMPLES = RECORD.replace("record.json", "samples.jsonl.gz")
HISTORY = history_path(SEFT)


@pytest.fixture
def config():
    values = read_files([Path("config/smoke.yaml").resolve()])
    values["grid"] |= GRID
    values["retry_failed"] = True
    return load(values)


@pytest.fixture
def folders(config):
    return (
        base_folder(config.checkpoints, SEFT),
        training_folder(config.checkpoints, SEFT, "seft"),
    )


@pytest.fixture
def done(tmp_path, folders, monkeypatch):
    """Makes the grid as a run leaves it in the working folder ``tmp_path``."""
    monkeypatch.chdir(tmp_path)

    def make(failed=()):
        # Of another grid, too: it is left alone.
        made_up_grid(
            tmp_path / "results", **GRID | {"seeds": [0, 1]}, patterns=["s60"], failed=failed
        )
        for cell in (SEFT, Cell("tiny", "wanda", "s60", "none", 0)):
            write_history(tmp_path / history_path(cell), cell, no_history())
        for folder in folders:
            write_json(tmp_path / folder / STAGE_FILE, {"error": None, "costs": {}})

    return make


def test_what_is_whole_is_not_run_again(config, done):
    assert to_retry(config) == set()
    done(failed=[Cell("tiny", "wanda", "s60", "seft", 1)])
    assert to_retry(config) == set()


def test_what_failed_is_run_again_and_nothing_is_removed(config, folders, done, tmp_path):
    done(failed=[SEFT])
    write_json(tmp_path / folders[1] / STAGE_FILE, {"error": {"class": "E"}, "costs": None})
    before = sorted(tmp_path.rglob("*"))
    assert to_retry(config) == {RECORD, folders[1]}
    assert sorted(tmp_path.rglob("*")) == before
    jobs = make_plan(config, device_of("cpu")).rules["jobs"]
    assert (jobs["repair"], jobs["evaluate"], "prune" in jobs) == (1, 1, False)


def drop_items(path: Path) -> None:
    write_json_lines(path, read_json_lines(path)[1:])


def drop_all_items(path: Path) -> None:
    path.write_bytes(b"")


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


@pytest.mark.parametrize("damage", [cut, drop_all_items])
def test_what_is_damaged_is_run_again(config, folders, done, tmp_path, damage):
    dense = record_path(dense_cell("tiny"))
    stages = {f"{folder}/{STAGE_FILE}": folder for folder in folders}
    for file, job in {dense: dense, RECORD: RECORD, HISTORY: HISTORY, **stages}.items():
        done()
        damage(tmp_path / file)
        assert to_retry(config) == {job}


@pytest.mark.parametrize("damage", [cut, drop_items, drop_all_items, Path.unlink])
def test_a_cell_without_all_its_items_is_run_again(config, done, tmp_path, damage):
    done()
    damage(tmp_path / SAMPLES)
    assert to_retry(config) == {RECORD}
