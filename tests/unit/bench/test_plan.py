"""How long a grid takes."""

import pytest
import yaml
from made_up import made_up_grid
from snakemake.utils import update_config

from bench.config import load, project_root
from bench.plan import REFERENCE, make_plan, measured_costs
from bench.records import read_records


def grid(**changes):
    values = yaml.safe_load((project_root() / "config/config.yaml").read_text())
    update_config(values, {"grid": changes})
    return load(values)


def test_each_job_counts_once(tmp_path):
    plan = make_plan(grid(seeds=[0, 1, 2]), tmp_path)
    # LoRA's two rows come of one training; the unrepaired base has one cell.
    assert plan.jobs == {"prune": 3, "repair": 3 * 4 * 3, "evaluate": 1 + 3 * (1 + 5 * 3)}
    assert plan.cells == 1 + 3 * (1 + 5 * 3)
    assert not plan.measured
    assert "one CPU core" in str(plan)


def test_the_default_grid_takes_the_time_that_it_took(tmp_path):
    hours = make_plan(grid(), tmp_path).seconds / 3600
    # 19 evaluations, 12 trainings and 3 prunings took 0.7 hours of one core.
    assert 0.5 < hours < 0.9


def test_more_tokens_take_longer(tmp_path):
    values = grid().model_dump(mode="json", by_alias=True, exclude_none=True)
    few = make_plan(load(values), tmp_path)
    values["training"]["steps"] *= 10
    many = make_plan(load(values), tmp_path)
    assert many.jobs == few.jobs
    assert many.seconds > 5 * few.seconds


def test_what_is_there_is_not_run_again_and_says_how_long_the_rest_takes(tmp_path):
    made_up_grid(tmp_path / "results", models=["smollm2-135m"], pruners=["wanda"], seeds=[0])
    config = grid(pruners=["wanda"], patterns=["s50", "s60", "s70"])
    plan = make_plan(config, tmp_path)
    # Records are there, checkpoints are not: those of the pattern that is left are needed.
    assert plan.jobs == {"prune": 1, "repair": 4, "evaluate": 6}
    assert plan.measured
    done = make_plan(grid(pruners=["wanda"], patterns=["s50"]), tmp_path)
    assert done.jobs == {}
    assert "still to run: nothing. About 0.0 hours" in str(done)
    (tmp_path / "results/checkpoints/smollm2-135m/wanda-s70/base").mkdir(parents=True)
    assert "prune" not in make_plan(config, tmp_path).jobs


def test_costs_are_by_token_and_by_item(tmp_path):
    costs = measured_costs(read_records(made_up_grid(tmp_path, seeds=[0])))
    assert costs["prune", "wanda"] == 20
    assert costs["repair", "lora"] == pytest.approx((56 + 80) / 2 / 12288)
    assert costs["evaluate", ""] == pytest.approx(20 / 190)
    assert set(costs) <= {*REFERENCE}


def test_a_variant_is_a_training_of_its_own_that_takes_as_long(tmp_path):
    values = grid(pruners=["wanda"], repairs=["none", "seft"]).model_dump(
        mode="json", by_alias=True, exclude_none=True
    )
    values["variants"] = {"seft-random": {"of": "seft", "init": "random"}}
    values["grid"]["repairs"] = ["none", "seft-random"]
    variant = make_plan(load(values), tmp_path)
    assert variant == make_plan(grid(pruners=["wanda"], repairs=["none", "seft"]), tmp_path)
    made_up_grid(tmp_path, models=["smollm2-135m"], repairs=["seft-random"], seeds=[0])
    assert set(measured_costs(read_records(tmp_path.rglob("record.json")))) <= {*REFERENCE}
