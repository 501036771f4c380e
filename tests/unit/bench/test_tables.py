"""Tables are pure functions of the records."""

import math

import pandas as pd
import pytest
from made_up import made_up_record, made_up_samples

from bench.cells import Cell, dense_cell, record_path
from bench.records.measures import COSTS, device_of
from bench.records.record import HERE, ORIGIN, describe_error, make_record
from bench.records.rows import shown_value
from bench.statistics.comparisons import comparisons_table
from bench.statistics.scores import scores_table
from bench.tables.table1 import caption, cells_table, table1_sheet
from bench.tables.table1 import table1 as make_table1

TASKS = {
    "social_iqa": {"metric": "acc_norm"},
    "winogrande": {"metric": "acc"},
    "wiki": {"metric": "perplexity"},
}
CONFIG = {"hash": "0" * 64, "resolved": {"evaluation": {"tasks": TASKS}}}


def scores_of(records):
    """Without results item by item."""
    return scores_table(records, {}, comparisons_table(records, {}))


def table1(records):
    return make_table1(records, scores_of(records))


def metric(task, name, value):
    entry = {"task": task, "metric": name, "value": value, "stderr": None, "n": 4}
    return {**entry, "version": 1, "few_shot": 0, "limit": 4}


def record(cell, *, social_iqa=0.5, winogrande=0.25, wiki=30.0, error=None, achieved=0.6):
    metrics = [
        metric("social_iqa", "acc", 0.99),
        metric("social_iqa", "acc_norm", social_iqa),
        metric("winogrande", "acc", winogrande),
        metric("wiki", "perplexity", wiki),
    ]
    repair = {
        "seconds": 10.0 + cell.seed,
        "peak_rss_bytes": 3 * 2**20,
        "peak_device_bytes": None,
        "trainable_parameters": 1000,
        "tokens": 2048,
        "steps": 8,
        "batch_order": f"order of seed {cell.seed}",
    }
    dense = cell.pruner == "dense"
    record = make_record(
        cell,
        CONFIG,
        sparsity={"requested": 0.0 if dense else 0.6, "achieved": achieved, "layers": {}},
        stages={
            "prune": None if dense else {"seconds": 2.0},
            "repair": None if dense or cell.repair == "none" else repair,
            "merge": None,
            "evaluate": {"seconds": 5.0},
        },
        provenance={"accelerator": None, "cpu": "one", "threads": 2, "dtype": "float32"},
        metrics=[] if error else metrics,
        error=error,
    )
    return record | {ORIGIN: HERE}


def grid(*repairs, seeds=(0,), pruner="wanda"):
    return [Cell("m", pruner, "s60", repair, seed) for repair in repairs for seed in seeds]


def test_rows_are_dense_first_then_in_the_registries_order():
    cells = [*grid("seft", "none", "lora-dense", "lora", "full", "spp"), dense_cell("m")]
    cells += grid("none", pruner="magnitude")
    table = table1([record(cell) for cell in cells])
    assert list(zip(table["pruner"], table["repair"], strict=True)) == [
        ("dense", "none"),
        ("magnitude", "none"),
        ("wanda", "none"),
        ("wanda", "full"),
        ("wanda", "lora"),
        ("wanda", "lora-dense"),
        ("wanda", "spp"),
        ("wanda", "seft"),
    ]


def test_columns_are_the_contract():
    assert list(table1([record(cell) for cell in grid("lora")]).columns) == [
        "model",
        "pruner",
        "pattern",
        "budget",
        "repair",
        "seeds",
        "status",
        "sparsity_requested",
        "sparsity_achieved",
        "social_iqa",
        "social_iqa_std",
        "social_iqa_ci_low",
        "social_iqa_ci_high",
        "winogrande",
        "winogrande_std",
        "winogrande_ci_low",
        "winogrande_ci_high",
        "average",
        "average_std",
        "average_ci_low",
        "average_ci_high",
        "wiki_perplexity",
        "wiki_perplexity_std",
        "wiki_perplexity_ci_low",
        "wiki_perplexity_ci_high",
        "recovery",
        "recovery_low",
        "recovery_high",
        "tie_group",
        "trainable_parameters",
        "repair_tokens",
        "prune_seconds",
        "repair_seconds",
        "merge_seconds",
        "repair_cost_seconds",
        "repair_waited_percent",
        "evaluate_seconds",
        "repair_peak_memory_mib",
        "repair_peak_memory_mib_low",
        "repair_peak_memory_mib_high",
        "origin",
        "device",
    ]


def test_one_seed_has_values_and_no_deviation():
    row = table1([record(cell) for cell in grid("lora")]).iloc[0]
    assert row["social_iqa"] == 50.0
    assert row["average"] == 37.5
    assert row["wiki_perplexity"] == 30.0
    assert math.isnan(row["social_iqa_std"])
    assert row["trainable_parameters"] == 1000
    assert row["repair_peak_memory_mib"] == 3.0


def test_seeds_give_mean_and_sample_deviation():
    cells = grid("seft", seeds=(0, 1, 2))
    values = (0.4, 0.5, 0.9)
    table = table1([record(c, social_iqa=v) for c, v in zip(cells, values, strict=True)])
    assert len(table) == 1
    row = table.iloc[0]
    mean = 100 * sum(values) / 3
    deviation = math.sqrt(sum((100 * v - mean) ** 2 for v in values) / 2)
    assert row["seeds"] == 3
    assert row["social_iqa"] == pytest.approx(mean)
    assert row["social_iqa_std"] == pytest.approx(deviation)
    assert row["average_std"] == pytest.approx(deviation / 2)
    assert row["repair_seconds"] == pytest.approx(11.0)


def test_memory_has_the_range_of_the_same_training():
    def measured(pruner, repair, mib, seed=0, pattern="s60"):
        found = record(Cell("tiny", pruner, pattern, repair, seed))
        found["stages"]["repair"]["peak_rss_bytes"] = mib * 2**20
        return found

    records = [
        measured("magnitude", "lora", 737),
        measured("wanda", "lora", 779),
        measured("wanda", "lora", 781, seed=1),
        measured("sparsegpt", "lora", 866),
        measured("wanda", "seft", 900),
        measured("wanda", "lora", 300, pattern="s80"),
    ]
    table = table1(records).set_index(["pruner", "pattern", "repair"])
    columns = [f"repair_peak_memory_mib{end}" for end in ("", "_low", "_high")]
    assert table.loc[("magnitude", "s60", "lora"), columns].tolist() == [737, 737, 866]
    assert table.loc[("wanda", "s60", "lora"), columns].tolist() == [780, 737, 866]
    assert table.loc[("wanda", "s60", "seft"), columns].tolist() == [900, 900, 900]
    assert table.loc[("wanda", "s80", "lora"), columns].tolist() == [300, 300, 300]
    sheet = table1_sheet(table1(records), scores_of(records), records)
    assert "780 (737 to 866)" in sheet.text["repair MiB"].tolist()


def test_bits_per_byte_have_one_column_and_old_records_a_gap_in_it():
    cells = [Cell("m", "wanda", "s60", repair, 0) for repair in ("none", "lora", "seft")]
    records = [record(cell) for cell in cells]
    for one, bits in zip(records[1:], (1.5, 1.25), strict=True):
        one["metrics"].append(metric("social_iqa", "answer_bpb", bits))
        one["metrics"].append(metric("winogrande", "answer_bpb", 2.5))
    table = table1(records)
    assert [name for name in table if "bpb" in name] == [
        f"answers_bpb{end}" for end in ("", "_std", "_ci_low", "_ci_high")
    ]
    assert table["answers_bpb"].tolist() == pytest.approx([math.nan, 2.0, 1.875], nan_ok=True)
    sheet = table1_sheet(table, scores_of(records), records)
    assert sheet.text["answers bpb"].tolist() == ["", "2", "1.875"]
    assert "answers_bpb: bits per byte of the right answer" in sheet.caption
    assert table["average"].tolist() == table1([record(cell) for cell in cells])["average"].tolist()


def test_a_failed_cell_is_a_row_with_its_reason():
    error = describe_error(FloatingPointError("loss is nan\nat step 3"), "repair", 2, "a.log")
    cells = grid("lora")
    failed = record(cells[0], error=error, achieved=None)
    row = table1([failed]).iloc[0]
    assert row["status"] == "failed: repair: FloatingPointError: loss is nan at step 3 (a.log)"
    assert math.isnan(row["social_iqa"])
    assert pd.isna(row["sparsity_achieved"])
    long = cells_table([failed])
    assert len(long) == 1
    assert long["error"][0] == "repair: FloatingPointError: loss is nan at step 3 (a.log)"
    assert pd.isna(long["task"][0])


def test_means_leave_failed_seeds_out_and_say_so():
    error = describe_error(MemoryError(), "repair", 1)
    first, second = grid("lora", seeds=(0, 1))
    row = table1([record(first, social_iqa=0.7), record(second, error=error)]).iloc[0]
    assert row["social_iqa"] == pytest.approx(70.0)
    assert row["status"] == "failed (1 of 2 seeds): repair: MemoryError: MemoryError"


def test_an_average_of_some_of_the_tasks_is_missing():
    row = table1([record(cell, winogrande=None) for cell in grid("lora")]).iloc[0]
    assert row["social_iqa"] == 50.0
    assert math.isnan(row["average"])


def test_long_table_has_every_metric_as_measured():
    table = cells_table([record(cell) for cell in grid("none", "seft")])
    assert len(table) == 8
    seft = table[(table["repair"] == "seft") & (table["metric"] == "acc_norm")].iloc[0]
    assert seft["value"] == 0.5
    assert seft["config_hash"] == CONFIG["hash"]


def test_every_row_has_the_budget_of_its_training():
    table = cells_table([record(cell) for cell in [*grid("none"), *grid("seft", seeds=(0, 1))]])
    untrained, trained = table[table["repair"] == "none"], table[table["repair"] == "seft"]
    budget = ["trainable_parameters", "repair_tokens", "steps", "batch_order"]
    assert untrained[budget].isna().all(axis=None)
    assert (trained["trainable_parameters"] == 1000).all()
    assert (trained["repair_tokens"] == 2048).all()
    assert (trained["steps"] == 8).all()
    assert list(trained["batch_order"].unique()) == ["order of seed 0", "order of seed 1"]


def test_tables_depend_on_the_records_and_not_on_their_order():
    records = [record(cell) for cell in [*grid("none", "seft", "lora"), dense_cell("m")]]
    assert table1(records).equals(table1(records[::-1]))
    assert cells_table(records).equals(cells_table(records[::-1]))


def test_shown_value_is_the_configured_metric():
    one = record(grid("none")[0])
    assert shown_value(one, "social_iqa") == 50.0
    assert shown_value(one, "wiki") == 30.0
    assert shown_value(one, "unknown") is None


def test_caption_and_markdown_say_what_the_numbers_are():
    records = [record(cell) for cell in [dense_cell("m"), *grid("none", "seft")]]
    text = caption(records)
    assert "social_iqa: acc_norm, 0-shot, 4 items (limited), version 1" in text
    page = table1_sheet(table1(records), scores_of(records), records).markdown()
    assert text in page
    assert "seft" in page
    assert "_std" not in page


def test_a_method_that_is_not_registered_has_its_row_at_the_end():
    cells = grid("none", "mine", "seft")
    assert list(table1([record(cell) for cell in cells])["repair"]) == ["none", "seft", "mine"]


def test_record_paths():
    assert record_path(dense_cell("m")) == "results/cells/m/dense/record.json"
    path = "results/cells/m/wanda-s60/seft/seed3/record.json"
    assert record_path(Cell("m", "wanda", "s60", "seft", 3)) == path


@pytest.mark.parametrize(
    ("repair", "device"),
    [
        ({}, "made up, 1 thread, bfloat16"),
        ({"processes": 2, "micro_batch": 1}, "made up, 1 thread, bfloat16, 2 processes"),
        ({"micro_batch": 1}, "made up, 1 thread, bfloat16, micro-batches of 1"),
        (
            {"computed_on": {"cpu": "c", "accelerator": None, "dtype": "float32", "threads": 4}},
            "c, 4 threads, float32, evaluated on made up, 1 thread, bfloat16",
        ),
    ],
)
def test_costs_are_of_the_device_that_trained(repair, device):
    cell = Cell("tiny", "wanda", "s60", "lora", 0)
    record = made_up_record(cell, made_up_samples(cell, 4, 2))
    record["stages"]["repair"] |= repair
    record["config"]["resolved"]["training"]["batch_size"] = 2
    assert device_of(record) == device


def test_memory_that_reads_as_nothing_was_not_measured():
    cell = Cell("tiny", "wanda", "s60", "lora", 0)
    record = made_up_record(cell, made_up_samples(cell, 4, 2))
    record["stages"]["repair"]["peak_rss_bytes"] = 0
    assert COSTS["repair_peak_memory_mib"].of(record) is None
