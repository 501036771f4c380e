"""Everything that is made of records, of a whole grid and of a part of one."""

import sys

import pandas as pd
import pytest
from made_up import made_up_grid

from bench.cells import Cell
from bench.records.record import read_records
from bench.stages.collect import collect, main, records_below
from bench.tables import TABLES


def test_a_part_of_a_grid_has_all_tables(tmp_path):
    missing = [Cell("tiny", "wanda", "s60", "seft", seed) for seed in (0, 1, 2)]
    failed = [Cell("tiny", "wanda", "s50", "lora", 1)]
    made_up_grid(tmp_path, repairs=["none", "lora", "seft"], missing=missing, failed=failed)
    collect(read_records(records_below(tmp_path)), tmp_path)
    assert sorted(TABLES) == sorted(path.name for path in tmp_path.iterdir() if path.is_file())
    tables = {name: pd.read_csv(tmp_path / f"{name}.csv") for name in ("table1", "scores")}
    table1 = tables["table1"].set_index(["pruner", "pattern", "repair"])
    assert ("wanda", "s60", "seft") not in table1.index
    assert table1.loc[("wanda", "s50", "lora"), "status"].startswith("failed (1 of 3 seeds)")
    assert len(tables["scores"]) == 9 * len(table1)


def test_the_same_records_give_the_same_bytes(tmp_path):
    for name in ("one", "two"):
        made_up_grid(tmp_path / name, pruners=["wanda"], patterns=["s60"], seeds=[0, 1])
        collect(read_records(records_below(tmp_path / name)), tmp_path / name)
    for name in TABLES:
        one, two = ((tmp_path / n / name).read_bytes() for n in ("one", "two"))
        assert one == two, name


def test_a_folder_without_records_is_one_line(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["bench.stages.collect", str(tmp_path)])
    with pytest.raises(SystemExit) as exit_:
        main()
    assert exit_.value.code == 1
    assert capsys.readouterr().err == (
        f"{tmp_path}: no records; allowed: a folder with cells/.../record.json\n"
    )
