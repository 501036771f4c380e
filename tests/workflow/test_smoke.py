"""The smoke DAG from end to end, and what reruns when something changes."""

import gzip
import json
import re
import subprocess
import sys
from collections import Counter

import pandas as pd
import pytest
import yaml
from project import ROOT
from transformers import AutoModelForCausalLM

from baselines.pruning import sparsity_report
from bench.tools.check import find_problems
from bench.training.tuning import COLUMNS, tuning_table

TRAINED = ("full", "lora", "spp", "seft")
PRUNERS = ("magnitude", "wanda", "sparsegpt")
# Three tasks, their average, bits per byte of each task's answer and on average, and a perplexity.
METRICS = 9
COLLECTING = ("Make results/table1.csv and the other tables",)


def read(path):
    return json.loads(path.read_text())


def records(project):
    return {
        path.relative_to(project.folder / "results/cells").as_posix(): read(path)
        for path in sorted((project.folder / "results/cells").rglob("record.json"))
    }


def test_the_table_has_the_dense_row_and_eighteen_sparse_rows(smoke):
    table = smoke.table()
    assert table["pruner"].iloc[0] == "dense"
    assert len(table) == 19
    assert (table["status"] == "ok").all()
    assert set(table["pruner"]) == {"dense", *PRUNERS}
    assert table["wiki_perplexity"].notna().all()
    assert table["average"].notna().all()


def test_the_table_and_its_path_are_printed_at_the_end(smoke):
    end = smoke.output[smoke.output.index("| model") :]
    assert "| seft" in end
    assert "results/table1.csv" in end


def test_achieved_sparsity_is_what_was_asked_for_but_in_lora_dense(smoke):
    table = smoke.table()
    sparse = table[(table["pruner"] != "dense") & (table["repair"] != "lora-dense")]
    # Wanda and SparseGPT round down in a row or a block: at most one weight of 64 in each.
    assert (sparse["sparsity_requested"] == 0.6).all()
    assert ((0.6 - sparse["sparsity_achieved"]).abs() < 1 / 64).all()
    dense_again = table[table["repair"] == "lora-dense"]
    assert (dense_again["sparsity_achieved"] < 0.05).all()


def test_sparsity_is_known_and_kept_at_every_evolution(smoke):
    for name, record in records(smoke).items():
        evolution, layers = (record["sparsity"][key] for key in ("evolution", "layers"))
        assert (evolution is not None) == (record["cell"]["repair"] == "seft"), name
        if evolution is not None:
            assert evolution.keys() == layers.keys()
            assert all(low == high for low, high in evolution.values()), name


def test_repairs_of_a_base_had_the_same_budget(smoke):
    found = {name: record["stages"]["repair"] for name, record in records(smoke).items()}
    trained = {name: repair for name, repair in found.items() if repair is not None}
    assert trained
    for name, repair in trained.items():
        assert repair["tokens"] == 12 * 2 * 32, name
        assert repair["steps"] == 12, name
    assert len({repair["batch_order"] for repair in trained.values()}) == 1
    table = smoke.table().set_index(["pruner", "repair"])["trainable_parameters"]
    for pruner in PRUNERS:
        assert table[pruner, "seft"] == table[pruner, "lora"] == table[pruner, "lora-dense"]


def test_records_say_where_their_numbers_come_from(smoke):
    for name, record in records(smoke).items():
        assert record["schema_version"] == 1
        provenance = record["provenance"]
        assert provenance["packages"]["torch"], name
        assert len(provenance["manifests"]["model"]) == 64
        assert set(provenance["manifests"]["sets"]) == {
            "wiki",
            "social_iqa",
            "winogrande",
            "science",
        }
        assert len(record["config"]["hash"]) == 64
        assert record["stages"]["evaluate"]["seconds"] > 0
        metrics = {(m["task"], m["metric"]) for m in record["metrics"]}
        assert {("social_iqa", "acc"), ("social_iqa", "acc_norm")} <= metrics
        assert ("wiki", "perplexity") in metrics


def test_every_model_was_scored_on_the_same_items_in_the_same_order(smoke):
    orders = set()
    for record in records(smoke).values():
        with gzip.open(smoke.folder / record["samples"], "rt") as lines:
            items = [json.loads(line) for line in lines]
        orders.add(tuple((item["task"], item["id"]) for item in items))
    assert len(orders) == 1
    assert len(orders.pop()) == 3 * 12 + 3


def test_scores_have_an_interval_and_sparse_rows_a_tie_group(smoke):
    scores = pd.read_csv(smoke.folder / "results/scores.csv")
    assert len(scores) == 19 * METRICS
    assert scores[["ci_low", "ci_high", "se_items"]].notna().all(axis=None)
    ranked = (scores["pruner"] != "dense") & (scores["repair"] != "lora-dense")
    assert (scores["tie_group"].notna() == ranked).all()
    comparisons = pd.read_csv(smoke.folder / "results/comparisons.csv")
    assert len(comparisons) == 3 * 15 * METRICS
    assert comparisons["p_holm"].between(0, 1).all()


def test_the_other_tables_and_the_verdicts_are_made_of_the_same_records(smoke):
    names = ["table2", "table3", "table4", "ablations", "claims", "reproduction"]
    targets = [f"results/{name}.csv" for name in names]
    # Nothing is computed for them.
    assert smoke.planned(*targets) == []
    answer = smoke.run(*targets)
    assert answer.returncode == 0, answer.stdout
    claims = pd.read_csv(smoke.folder / "results/claims.csv").set_index("claim")["verdict"]
    assert claims["sparsity-kept"] == "supported"
    assert claims["refutation-test"] == "not tested"
    costs = pd.read_csv(smoke.folder / "results/table4.csv")
    assert costs.loc[costs["repair"] == "seft", "repair_seconds"].gt(0).all()


def test_the_records_pass_the_check_of_submissions(smoke):
    problems = list(find_problems(smoke.folder / "results"))
    # A copy of the project is no checkout: it has no commit.
    assert all("provenance.git" in problem for problem in problems), problems


def test_a_dry_run_says_how_long_it_takes(smoke):
    answer = smoke.run("--dry-run", changes={"grid": {"seeds": [0, 1]}})
    (line,) = [line for line in answer.stdout.splitlines() if line.startswith("Grid of")]
    assert "Grid of 34 cells; still to run: 12 repair, 15 evaluate; about " in line
    # Snakemake's own count of all jobs.
    counted = dict(re.findall(r"^(\w+) +(\d+)$", answer.stdout, re.MULTILINE))
    assert (counted["repair"], counted["evaluate"]) == ("12", "15")


def test_lora_and_lora_dense_come_from_one_training(smoke):
    found = records(smoke)
    for pruner in PRUNERS:
        merged = found[f"tiny/{pruner}-s60/lora/seed0/record.json"]
        dense = found[f"tiny/{pruner}-s60/lora-dense/seed0/record.json"]
        assert merged["stages"]["repair"] == dense["stages"]["repair"]


def test_cells_say_what_they_keep_on_disk(smoke):
    weights = smoke.folder / "resources/models/tiny/model.safetensors"
    for name, record in records(smoke).items():
        if record["cell"]["pruner"] == "dense":
            continue
        assert 0 < record["stages"]["prune"]["disk_bytes"] < weights.stat().st_size, name
        base = smoke.folder / record["inputs"]["base"]
        assert sorted(path.name for path in base.glob("[!.]*")) == [
            "base.safetensors",
            "stage.json",
        ]
        repair = record["stages"]["repair"]
        assert repair is None or repair["disk_bytes"] > 0, name


@pytest.mark.parametrize("cell", ["magnitude-s60/lora", "sparsegpt-s60/seft"])
def test_a_cell_is_exported_as_a_plain_model(smoke, cell):
    run = subprocess.run(
        [sys.executable, "-m", "bench", "export", f"results/cells/tiny/{cell}/seed0"],
        cwd=smoke.folder,
        env=smoke.environment,
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.strip() == f"results/export/tiny/{cell}/seed0"
    model = AutoModelForCausalLM.from_pretrained(smoke.folder / run.stdout.strip())
    record = records(smoke)[f"tiny/{cell}/seed0/record.json"]
    assert sparsity_report(model).layers == record["sparsity"]["layers"]


def test_a_job_runs_by_hand_on_the_inputs_of_its_own(smoke, tmp_path):
    project = smoke.copy(tmp_path / "project")
    cell = "tiny/wanda-s60/seft/seed0/record.json"
    expected = records(project)[cell]
    for target, status, said in [
        (f"results/cells/{cell}", 0, "evaluate tiny wanda s60 seft 0: "),
        ("results/nothing.csv", 1, "No rule to produce results/nothing.csv"),
    ]:
        command = [sys.executable, "-m", "bench", "job", target, "--configfile"]
        run = subprocess.run(
            [*command, "config/smoke.yaml"],
            cwd=project.folder,
            env=project.environment,
            capture_output=True,
            text=True,
        )
        assert run.returncode == status, run.stderr
        assert said in run.stderr
    found = records(project)[cell]
    assert found["metrics"] == expected["metrics"]
    assert found["provenance"]["manifests"] == expected["provenance"]["manifests"]
    # It was made anew: no two evaluations take the same time.
    assert found["stages"]["evaluate"] != expected["stages"]["evaluate"]


def test_the_sweep_gives_each_repair_the_same_number_of_trials(smoke):
    rates = yaml.safe_load((ROOT / "config/config.yaml").read_text())["tuning"]["learning_rates"]
    planned = Counter(job.partition(" for ")[2] for job in smoke.planned("results/tuning.csv"))
    assert {repair: planned[repair] for repair in rates} == dict.fromkeys(rates, 4)


def test_a_trial_of_the_sweep_is_a_row_of_its_table(smoke):
    trials = [f"results/tuning/tiny/wanda-s60/{repair}/lr0.001.json" for repair in ("lora", "seft")]
    answer = smoke.run(*trials)
    assert answer.returncode == 0, answer.stdout
    # The table that lies there was not asked for.
    assert "| model" in smoke.output
    assert "| model" not in answer.stdout
    table = tuning_table([read(smoke.folder / trial) for trial in trials])
    assert list(table.columns) == COLUMNS
    assert list(table["repair"]) == ["lora", "seft"]
    assert (table["learning_rate"] == 1e-3).all()
    assert (table["validation_loss"] < table["base_validation_loss"]).all()
    assert table["base_validation_loss"].nunique() == 1


def test_a_second_run_does_nothing(smoke):
    assert smoke.planned() == []


def planned_when_edited(smoke, file: str) -> list[str]:
    source = smoke.folder / file
    original = source.read_text()
    try:
        source.write_text(original + "\n# edited\n")
        return smoke.planned()
    finally:
        source.write_text(original)


@pytest.mark.parametrize("training", TRAINED)
def test_editing_a_repair_reruns_its_cells_and_nothing_else(smoke, training):
    planned = planned_when_edited(smoke, f"baselines/repair/{training}.py")
    rows = ("lora", "lora-dense") if training == "lora" else (training,)
    expected = list(COLLECTING)
    for pruner in PRUNERS:
        expected.append(f"Repair tiny ({pruner} s60) with {training}, seed 0")
        expected += [f"Evaluate tiny ({pruner} s60), {row}, seed 0" for row in rows]
    assert planned == sorted(expected)


def test_editing_a_pruner_reruns_its_bases_and_what_hangs_on_them(smoke):
    planned = planned_when_edited(smoke, "baselines/pruning/wanda.py")
    jobs = [job for job in planned if "tiny" in job]
    assert "Prune tiny with wanda to s60" in jobs
    assert all("wanda" in job for job in jobs)
    assert len(jobs) == 1 + 4 + 6


def test_editing_what_makes_text_up_makes_it_anew(smoke):
    planned = planned_when_edited(smoke, "bench/sources/grammar.py")
    fetched = {job.removeprefix("Fetch source ") for job in planned if "Fetch source" in job}
    assert fetched == {path.name for path in (smoke.folder / "resources/sources").iterdir()}


def test_a_changed_learning_rate_reruns_that_repair_alone(smoke):
    planned = smoke.planned(changes={"repair": {"spp": {"learning_rate": 0.5}}})
    jobs = [job for job in planned if "tiny" in job]
    assert len(jobs) == 6
    assert all("spp" in job for job in jobs)


def test_a_seed_more_trains_and_evaluates_only_that_seed(smoke):
    planned = smoke.planned(changes={"grid": {"seeds": [0, 1]}})
    jobs = [job for job in planned if "tiny" in job]
    assert len(jobs) == 3 * (4 + 5)
    assert all("seed 1" in job for job in jobs)


def test_evaluating_on_fewer_items_trains_nothing(smoke):
    planned = smoke.planned(changes={"evaluation": {"tasks": {"science": {"limit": 5}}}})
    jobs = [job for job in planned if "tiny" in job]
    check = "Check that tiny scores as expected before it is pruned"
    assert sorted(jobs)[0] == check
    assert len(jobs) == 1 + 19
    assert all(job.startswith("Evaluate") for job in jobs if job != check)
