"""Everything that is made of records, of a whole grid and of a part of one."""

import shutil
import sys

import pandas as pd
import pytest
from made_up import made_up_grid

from bench.cells import Cell
from bench.files import (
    UnreadableError,
    read_json,
    read_json_lines,
    read_table,
    write_json,
    write_json_lines,
)
from bench.records.record import read_records, records_below
from bench.stages.collect import collect, main
from bench.tables import TABLES
from bench.tables.answer import in_words


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


def test_a_cell_that_is_there_twice_is_refused(tmp_path):
    made_up_grid(tmp_path, pruners=["wanda"], patterns=["s60"], repairs=["none", "lora"])
    shutil.copytree(tmp_path / "cells/tiny", tmp_path / "cells/cells/tiny")
    with pytest.raises(UnreadableError, match=r"cells/cells/.* allowed: each cell once"):
        read_records(records_below(tmp_path))


@pytest.mark.parametrize("name", ["135", "007", "1e3", "NA", "null"])
def test_a_name_may_look_like_a_number_or_like_nothing(tmp_path, name):
    made_up_grid(tmp_path, models=[name], pruners=["wanda"], patterns=["s60"], seeds=[0, 1])
    collect(read_records(records_below(tmp_path)), tmp_path)
    tables = [read_table(tmp_path / f"{of}.csv") for of in ("scores", "comparisons", "table1")]
    assert tables[2]["answers_bpb"].notna().all()
    assert [line.partition(":")[0] for line in in_words(*tables)] == [f"{name} wanda s60"]


def test_a_loss_of_any_size_has_a_row_in_all_tables(tmp_path):
    for path in made_up_grid(tmp_path, pruners=["wanda"], patterns=["s60"], seeds=[0, 1]):
        record, samples = read_json(path), path.with_name("samples.jsonl.gz")
        if record["cell"]["repair"] == "lora":
            items = read_json_lines(samples)
            for item in items:
                if "log_likelihood" in item:
                    item["log_likelihood"] *= 15
            write_json_lines(samples, items)
            for metric in record["metrics"]:
                if metric["metric"] == "perplexity":
                    metric["value"] **= 15
            write_json(path, record)
    collect(read_records(records_below(tmp_path)), tmp_path)
    row = read_table(tmp_path / "table1.csv").set_index("repair").loc["lora"]
    assert row["wiki_perplexity"] > 1e20
    assert row["wiki_perplexity_ci_low"] < row["wiki_perplexity"] < row["wiki_perplexity_ci_high"]
