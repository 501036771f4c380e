"""Published numbers beside measured ones."""

import copy
import math

import pandas as pd
import pytest
from made_up import made_up_grid

from bench.files import read_json, write_json
from bench.records.record import read_records
from bench.tables.reproduction import (
    read_references,
    reference_files,
    reproduction_table,
)

HEADER = "model,context,data_set,metric,method,pattern,value,tolerance,source\n"


def references(folder, *rows):
    path = folder / "references.csv"
    path.write_text(HEADER + "".join(f"{row}\n" for row in rows))
    return [path]


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    """A grid measured on all items."""
    paths = made_up_grid(tmp_path_factory.mktemp("grid"), repairs=["none", "lora"])
    for path in paths:
        record = read_json(path)
        for metric in record["metrics"]:
            metric["limit"] = None
        record["config"]["resolved"]["evaluation"]["tasks"]["wiki"]["windows"] = "disjoint"
        write_json(path, record)
    return list(read_records(paths).values())


def table(folder, records, *rows):
    return reproduction_table(read_references(references(folder, *rows)), records)


def measured(records, pruner, repair, task, metric):
    values = [
        entry["value"]
        for record in records
        if record["cell"]["pruner"] == pruner and record["cell"]["repair"] == repair
        if record["cell"]["pattern"] in ("s60", "dense")
        for entry in record["metrics"]
        if (entry["task"], entry["metric"]) == (task, metric)
    ]
    return sum(values) / len(values)


def test_the_shipped_numbers_are_read_and_not_measured_here(records):
    found = reproduction_table(read_references(reference_files()), records)
    assert len(found) == 37
    assert (found["verdict"] == "not measured").all()
    assert found["source"].notna().all()


def test_a_number_is_put_beside_the_same_setting(tmp_path, records):
    value = measured(records, "wanda", "none", "wiki", "perplexity")
    near, far = 1.04 * value, 2 * value
    found = table(
        tmp_path,
        records,
        f"TINY,512,wiki,perplexity,wanda,s60,{near},0.05,paper",
        f"tiny,512,wiki,perplexity,wanda,s60,{far},0.05,paper",
    )
    assert found["verdict"].tolist() == ["inside", "outside"]
    assert found["measured"].tolist() == pytest.approx([value, value])
    assert found["difference"].tolist() == pytest.approx([value - near, value - far])
    assert found["relative_difference"].tolist() == pytest.approx([1 / 1.04 - 1, -0.5])


def test_dense_and_repaired_models_and_accuracies(tmp_path, records):
    dense = measured(records, "dense", "none", "wiki", "perplexity")
    repaired = measured(records, "wanda", "lora", "winogrande", "acc")
    answers = measured(records, "wanda", "lora", "winogrande", "answer_bpb")
    found = table(
        tmp_path,
        records,
        "tiny,512,wiki,perplexity,dense,dense,30,0.01,paper",
        "tiny,,winogrande,acc,wanda + lora,s60,60,0.01,paper",
        "tiny,,winogrande,answer_bpb,wanda + lora,s60,0.9,0.01,paper",
    )
    assert found["measured"].tolist() == pytest.approx([dense, 100 * repaired, answers])
    assert found[["model_here", "pruner", "budget", "repair", "score"]].values.tolist() == [
        ["tiny", "dense", "none", "none", "wiki_perplexity"],
        ["tiny", "wanda", "default", "lora", "winogrande"],
        ["tiny", "wanda", "default", "lora", "winogrande_answer_bpb"],
    ]


@pytest.mark.parametrize(
    "row",
    [
        "other,512,wiki,perplexity,wanda,s60,30,0.01,paper",
        "tiny,2048,wiki,perplexity,wanda,s60,30,0.01,paper",
        "tiny,512,wikitext2,perplexity,wanda,s60,30,0.01,paper",
        "tiny,512,wiki,word_perplexity,wanda,s60,30,0.01,paper",
        "tiny,512,wiki,perplexity,sparsegpt,s60,30,0.01,paper",
        "tiny,512,wiki,perplexity,wanda,s70,30,0.01,paper",
        "tiny,512,wiki,perplexity,wanda + spp,s60,30,0.01,paper",
    ],
)
def test_another_setting_is_not_measured(tmp_path, records, row):
    (found,) = table(tmp_path, records, row).to_dict("records")
    assert found["verdict"] == "not measured"
    assert pd.isna(found["measured"])


def test_another_split_is_another_setting_and_tasks_are_not_averaged(tmp_path, records):
    value = measured(records, "wanda", "none", "wiki", "perplexity")
    found = copy.deepcopy(records)
    for record in found:
        (entry,) = (entry for entry in record["metrics"] if entry["task"] == "wiki")
        record["metrics"].append({**entry, "task": "wiki2", "value": 99.0})
        tasks = record["config"]["resolved"]["evaluation"]["tasks"]
        tasks["wiki2"] = tasks["wiki"]
    (path,) = references(tmp_path)
    row = "tiny,512,wiki,perplexity,wanda,s60,30,0.01,paper"
    path.write_text(f"{HEADER.strip()},split\n{row},\n{row},test\n{row},validation\n")
    rows = reproduction_table(read_references([path]), found)
    assert rows["measured"].tolist() == pytest.approx([value, value, math.nan], nan_ok=True)
    assert rows["score"].tolist()[:2] == ["wiki_perplexity"] * 2


def test_a_number_of_a_metric_that_no_table_shows_has_no_column(tmp_path, records):
    tasks = records[0]["config"]["resolved"]["evaluation"]["tasks"]
    shown = tasks["social_iqa"]["metric"]
    other = {"acc": "acc_norm", "acc_norm": "acc"}[shown]
    rows = [f"tiny,,social_iqa,{m},wanda,s60,50,0.9,paper" for m in (shown, other, "answer_bpb")]
    found = table(tmp_path, records, *rows)
    assert found["measured"].notna().all()
    assert found["score"].fillna("").tolist() == ["social_iqa", "", "social_iqa_answer_bpb"]


def test_a_part_of_the_items_is_another_setting(tmp_path):
    limited = list(read_records(made_up_grid(tmp_path / "grid", repairs=["none"])).values())
    row = "tiny,512,wiki,perplexity,wanda,s60,30,0.01,paper"
    assert table(tmp_path, limited, row)["verdict"].tolist() == ["not measured"]


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("tiny,512,wiki,perplexity,wanda,s60,many,0.01,paper", "line 2: value = 'many'"),
        ("tiny,512,wiki,perplexity,wanda,s60,30,0,paper", "line 2: tolerance = 0"),
        ("tiny,-1,wiki,perplexity,wanda,s60,30,0.01,paper", "line 2: context = -1"),
        ("tiny,512,wiki,perplexity,wanda,s60,30,0.01,", "line 2: source = nan"),
    ],
)
def test_a_bad_row_is_one_line(tmp_path, row, said):
    paths = references(tmp_path, row)
    with pytest.raises(ValueError, match="line 2: ") as error:
        read_references(paths)
    (line,) = str(error.value).splitlines()
    assert line.startswith(str(paths[0]))
    assert said in line


def test_a_number_is_there_once(tmp_path):
    row = "tiny,512,wiki,perplexity,wanda,s60,{value},0.01,paper"
    paths = references(tmp_path, row.format(value=30), row.format(value=31))
    with pytest.raises(ValueError, match="line 3: there already; allowed: each number once"):
        read_references(paths)


@pytest.mark.parametrize("text", ["", 'model,context\n"'])
def test_a_file_that_is_no_table_is_named(tmp_path, text):
    path = tmp_path / "broken.csv"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"broken\.csv: no table: ") as error:
        read_references([path])
    assert len(str(error.value).splitlines()) == 1


def test_examples_and_windows_are_a_part_of_the_setting(tmp_path, records):
    path = tmp_path / "references.csv"
    header = HEADER.replace("value", "few_shot,windows,value")
    value = measured(records, "wanda", "none", "wiki", "perplexity")
    accuracy = 100 * measured(records, "wanda", "none", "science", "acc_norm")
    rows = [
        f"tiny,512,wiki,perplexity,wanda,s60,,,{value},0.01,paper",
        f"tiny,512,wiki,perplexity,wanda,s60,,rolling,{value},0.01,paper",
        f"tiny,,science,acc_norm,wanda,s60,,,{accuracy},0.01,paper",
        f"tiny,,science,acc_norm,wanda,s60,5,,{accuracy},0.01,paper",
    ]
    path.write_text(header + "".join(f"{row}\n" for row in rows))
    found = reproduction_table(read_references([path]), records)
    # Texts were cut into disjoint windows, and no item had examples before it.
    assert list(found["verdict"]) == ["inside", "not measured", "inside", "not measured"]
