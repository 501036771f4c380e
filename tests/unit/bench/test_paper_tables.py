"""The tables beside the main one, and how tables are written to be read."""

import re

import pandas as pd
import pytest
from made_up import made_up_grid, made_up_record, made_up_samples

from bench.cells import Cell
from bench.records.record import parse_record, read_records, records_below
from bench.stages.collect import collect
from bench.tables.paper import table4
from bench.tables.rendering import Sheet, number, with_interval

REPAIRS = ("none", "lora", "lora-dense", "static", "seft", "seft-random")
FAILED = [Cell("tiny", "wanda", "s60", "lora", seed) for seed in (0, 1, 2)]


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    folder = tmp_path_factory.mktemp("results")
    made_up_grid(folder, patterns=["s50", "s60", "2of4"], repairs=REPAIRS, failed=FAILED)
    collect(read_records(records_below(folder)), folder)
    return folder


def read(results, name):
    return pd.read_csv(results / f"{name}.csv")


def row(table, **keys):
    for key, value in keys.items():
        table = table[table[key] == value]
    (found,) = table.to_dict("records")
    return found


def test_table1_has_the_numbers_of_the_scores(results):
    seft = {"pruner": "wanda", "pattern": "s60", "repair": "seft"}
    table, scores = row(read(results, "table1"), **seft), read(results, "scores")
    for task in ("science", "average", "wiki_perplexity"):
        score = row(scores, task=task, **seft)
        assert table[task] == score["mean"]
        for part in ("std", "ci_low", "ci_high"):
            assert table[f"{task}_{part}"] == score[part]
    # Of the score with most signal.
    answers = row(scores, task="answers_bpb", **seft)
    for part in ("recovery", "recovery_low", "recovery_high", "tie_group"):
        assert table[part] == answers[part]


def test_table2_is_perplexity_against_unstructured_sparsity(results):
    table = read(results, "table2")
    assert [name for name in table if re.fullmatch(r"[^_]+_wiki_perplexity", name)] == [
        "dense_wiki_perplexity",
        "s50_wiki_perplexity",
        "s60_wiki_perplexity",
    ]
    assert len(table) == 2 * len(REPAIRS)
    seft = row(table, pruner="wanda", repair="seft")
    scores = read(results, "scores")
    score = row(scores, pruner="wanda", pattern="s50", repair="seft", task="wiki_perplexity")
    assert seft["s50_wiki_perplexity"] == score["mean"]
    assert seft["s50_wiki_perplexity_tie_group"] == 1
    assert seft["dense_wiki_perplexity"] < seft["s50_wiki_perplexity"]
    assert pd.isna(row(table, pruner="wanda", repair="lora")["s60_wiki_perplexity"])


def test_table3_is_of_patterns_in_groups(results):
    table = read(results, "table3")
    assert {"2of4_average", "2of4_wiki_perplexity", "dense_average"} <= set(table)
    assert not any(name.startswith("s50") for name in table)


def test_table4_has_what_each_stage_costs(results):
    table = read(results, "table4")
    seft = row(table, pruner="wanda", pattern="s60", repair="seft")
    # 40 s, times 1.4 for SEFT, and one a seed; a merge of 20 s, and one a seed.
    assert seft["repair_seconds"] == pytest.approx(57)
    assert seft["merge_seconds"] == pytest.approx(21)
    assert seft["repair_cost_seconds"] == pytest.approx(57 + 21)
    assert seft["repair_peak_memory_mib"] == pytest.approx(700)
    assert seft["repair_disk_mib"] == seft["prune_disk_mib"] == 10
    assert (seft["seeds"], seft["memory"], seft["trainable_parameters"]) == (3, "host", 4000)
    assert pd.isna(row(table, pruner="dense")["repair_seconds"])
    assert pd.isna(row(table, pruner="dense")["repair_cost_seconds"])
    assert row(table, pruner="wanda", pattern="s60", repair="lora")["seeds"] == 0


def test_table4_says_whose_memory_it_is_of_every_stage():
    cell = Cell("tiny", "wanda", "s60", "lora", 0)
    record = parse_record(made_up_record(cell, made_up_samples(cell, 4, 2)))
    assert list(table4([record])["memory"]) == ["host"]
    # Trained on a GPU, and evaluated without.
    record["stages"]["repair"] |= {"peak_device_bytes": 2**30}
    found = row(table4([record]), repair="lora")
    assert found["repair_peak_memory_mib"] == 2**10
    assert found["memory"] == "device; host"


def test_ablations_are_differences_from_what_is_varied(results):
    table = read(results, "ablations")
    assert set(table["variant"]) == {"static", "seft-random"}
    found = row(table, pruner="wanda", pattern="s60", task="average", variant="static")
    assert found["difference"] == pytest.approx(found["mean"] - found["mean_of"])
    assert found["ci_low"] < found["difference"] < found["ci_high"] < 0
    assert set(table["of"]) == {"seft"}
    (changed,) = set(table["changed"][table["variant"] == "seft-random"])
    assert changed == "init: random instead of gradient, stagger: false instead of true"


def test_variants_follow_the_registered_repairs(results):
    rows = ["none", "lora", "lora-dense", "seft", "static", "seft-random"]
    assert list(read(results, "table1")["repair"].unique()) == rows


@pytest.mark.parametrize("name", ["table1", "table2", "table3", "table4", "ablations"])
def test_every_table_is_there_to_read(results, name):
    markdown = (results / f"{name}.md").read_text()
    latex = (results / f"{name}.tex").read_text()
    assert markdown.startswith("| model")
    assert latex.count(r"\begin{tabular}") == latex.count(r"\bottomrule") == 1
    rows = latex[latex.index(r"\midrule") : latex.index(r"\bottomrule")]
    assert not re.search(r"(?<!\\)[_%#]", latex)
    assert rows.count(r"\\") == markdown.count("\n|") - 1


def test_the_best_tie_group_is_bold(results):
    scores = read(results, "scores")
    table2 = (results / "table2.md").read_text()
    perplexity = scores[(scores["task"] == "wiki_perplexity") & scores["pattern"].str.match("s")]
    best = perplexity[perplexity["tie_group"] == 1]
    assert table2.count("**") == 2 * len(best)
    assert (results / "table2.tex").read_text().count(r"\textbf{") == len(best)
    seft = row(best, pruner="wanda", pattern="s60", repair="seft")
    assert f"**{number(seft['mean'])} ±" in table2


def test_a_table_without_rows_says_so(tmp_path):
    made_up_grid(tmp_path, pruners=["wanda"], patterns=["s60"], repairs=["none"])
    collect(read_records(records_below(tmp_path)), tmp_path)
    assert (tmp_path / "table3.md").read_text().startswith("No rows.")
    assert read(tmp_path, "table3").empty
    assert read(tmp_path, "ablations").empty


def test_what_is_special_in_latex_is_escaped():
    text = pd.DataFrame({"a_b": ["50 % & more_", "1"]})
    sheet = Sheet(text, text == "1", "of a_b, 5 %", ["a_b"])
    latex = sheet.latex()
    assert r"50 \% \& more\_" in latex
    assert r"\caption{of a\_b, 5 \%}" in latex
    assert r"\textbf{1}" in latex


def test_what_a_record_says_is_text_in_every_table():
    said = "a | b\n<script>\\input ~x^2"
    sheet = Sheet(pd.DataFrame({"status": [said]}), pd.DataFrame({"status": [False]}), said, [])
    text = r"a \| b &lt;script&gt;\input ~x^2"
    head, _, row, _, caption = sheet.markdown().splitlines()
    assert (head.split(), caption) == (["|", "status", "|"], text)
    assert row == f"| {text} |"
    caption = r"<script>\textbackslash{}input \textasciitilde{}x\textasciicircum{}2}"
    assert caption in sheet.latex().replace("\n", " ")


def test_numbers_are_short():
    assert number(12.3456) == "12.35"
    assert number(48419.12) == "48,419"
    assert number(float("nan")) == ""
    assert number(9999.4) == "9999"
    assert number(9999.6) == "10,000"
    assert number(1234) == "1,234"
    assert with_interval(50.0, 45.0, 55.5) == "50 ± 5.2"
    assert with_interval(500.0, 400.4, 599.6) == "500 ± 100"
    assert with_interval(4217.4, 2543.0, 7052.0) == "4217 ± 2,254"
    assert with_interval(50.0, float("nan"), float("nan")) == "50"
