"""Every family of models and every repair through the whole DAG, in one run."""

from itertools import cycle

import pytest
from project import Project, offline

from baselines.repair import REPAIRS
from bench.cells import UNREPAIRED, Cell, dense_cell, history_path, record_path
from bench.files import read_json
from bench.records.history import read_histories
from bench.sources.families import FAMILIES
from bench.tools.check import find_problems

TRAININGS = [name for name, repair in REPAIRS.items() if repair.training == name]
# Each training on one family, in turn, and all that is merged of it.
REPAIRED = [
    Cell(family, "wanda", "2of4", repair, 0)
    for family, training in zip(cycle(FAMILIES), TRAININGS, strict=False)
    for repair in REPAIRS
    if REPAIRS[repair].training == training
]
BASES = [Cell(family, "wanda", "2of4", UNREPAIRED, 0) for family in FAMILIES]
DENSE = [dense_cell(family) for family in FAMILIES]
CHANGES = {
    "grid": {
        "models": list(FAMILIES),
        "pruners": ["wanda"],
        "patterns": ["2of4"],
        "repairs": list(REPAIRS),
    },
    "models": {
        family: {"source": {"source": "synthetic", "architecture": family}} for family in FAMILIES
    },
    "training": {"steps": 6},
    "repair": {
        training: {"evolve_every": 2, "accumulate_steps": 1}
        for training in TRAININGS
        if "evolve_every" in REPAIRS[training].Options.model_fields
    },
}


@pytest.fixture(scope="session")
def families(tmp_path_factory) -> Project:
    project = offline(tmp_path_factory.mktemp("families") / "project")
    cells = [*DENSE, *BASES, *REPAIRED]
    answer = project.run(*map(record_path, cells), changes=CHANGES)
    assert answer.returncode == 0, answer.stdout
    return project


@pytest.mark.parametrize("cell", REPAIRED, ids=lambda cell: f"{cell.model}-{cell.repair}")
def test_a_family_is_pruned_and_repaired(families, cell):
    base, repaired = (
        read_json(families.folder / record_path(cell))
        for cell in (Cell(cell.model, "wanda", "2of4", UNREPAIRED, 0), cell)
    )
    assert base["status"] == repaired["status"] == "ok", repaired["error"]
    assert set(base["sparsity"]["layers"].values()) == {0.5}
    assert base["sparsity"]["layers"].keys() == repaired["sparsity"]["layers"].keys()
    for layer, sparsity in repaired["sparsity"]["layers"].items():
        assert (sparsity == 0.5) == REPAIRS[cell.repair].keeps_sparsity, layer
    changes = read_histories([families.folder / history_path(cell)])[cell]["layers"]
    assert changes.keys() == base["sparsity"]["layers"].keys()
    assert all(layer["change"] > 0 for layer in changes.values())


def test_the_records_pass_the_check_of_submissions(families):
    problems = list(find_problems(families.folder / "results"))
    # A copy of the project is no checkout: it has no commit.
    assert all("provenance.git" in problem for problem in problems), problems
