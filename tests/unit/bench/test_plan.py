"""What a grid takes: jobs, hours, memory and disk."""

import pytest
import yaml
from made_up import made_up_grid
from snakemake.utils import update_config

from bench.config import load
from bench.paths import ROOT
from bench.planning.plan import main, make_plan, read_files
from bench.planning.speeds import SPEED, measured_speeds
from bench.records.record import read_records

LLAMA = {
    "source": {"source": "hub", "repository": "a/b", "revision": "0" * 40},
    "shape": {
        "blocks": 32,
        "hidden": 4096,
        "intermediate": 11008,
        "heads": 32,
        "key_value_heads": 32,
        "vocabulary": 32000,
    },
}


def grid(runtime: dict | None = None, **changes):
    values = read_files([])
    update_config(values, {"grid": changes, "runtime": runtime or {}})
    return load(values)


def rows(plan) -> dict:
    return {row.rule: row for row in plan.rows}


def test_each_job_counts_once(tmp_path):
    plan = make_plan(grid(seeds=[0, 1, 2]), "cpu", tmp_path)
    # LoRA's two rows come of one training; the unrepaired base has one cell.
    assert {rule: row.jobs for rule, row in rows(plan).items()} == {
        "fetch_model": 1,
        "evaluate_dense": 1,
        "prune": 3,
        "repair": 3 * 4 * 3,
        "evaluate": 3 * (1 + 5 * 3),
    }
    assert plan.cells == 1 + 3 * (1 + 5 * 3)
    assert "3 prune, 36 repair" in str(plan)


def test_the_default_grid_takes_the_time_that_it_took(tmp_path):
    plan = make_plan(grid(), "cpu", tmp_path)
    # 20 evaluations, 12 trainings and 3 prunings took 0.7 hours of one core.
    assert 0.5 < plan.hours < 0.9
    # Seconds of the README's table, and what starting a job takes.
    assert rows(plan)["repair"].longest * 3600 == pytest.approx(130 + 15, rel=0.1)
    assert rows(plan)["evaluate"].longest * 3600 == pytest.approx(43 + 15, rel=0.1)
    assert rows(plan)["prune"].longest * 3600 == pytest.approx(32 + 15, rel=0.1)


def test_hours_are_of_cores_and_wait_for_fewer_where_jobs_have_several(tmp_path):
    one, four = (
        make_plan(grid(runtime={"threads": threads}), "cpu", tmp_path) for threads in (1, 4)
    )
    assert four.hours > one.hours
    assert rows(four)["repair"].longest < rows(one)["repair"].longest / 2


def test_what_is_there_is_not_run_again_and_says_how_long_the_rest_takes(tmp_path):
    made_up_grid(tmp_path / "results", models=["smollm2-135m"], pruners=["wanda"], seeds=[0])
    config = grid(pruners=["wanda"], patterns=["s50", "s60", "s70"])
    plan = make_plan(config, "cpu", tmp_path)
    # Records are there, checkpoints are not: those of the pattern that is left are needed.
    jobs = {rule: row.jobs for rule, row in rows(plan).items()}
    assert jobs == {"fetch_model": 1, "prune": 1, "repair": 4, "evaluate": 6}
    assert "by earlier records" in str(plan)
    # Made-up records: 80 s of LoRA and of `lora-dense` each, 56 s of SEFT, and so on.
    assert rows(plan)["repair"].longest * 3600 == pytest.approx(56 + 15, rel=0.2)
    done = make_plan(grid(pruners=["wanda"], patterns=["s50"]), "cpu", tmp_path)
    assert done.rows == []
    assert "still to run: nothing. About 0.0 core-hours" in str(done)
    (tmp_path / "results/checkpoints/smollm2-135m/wanda-s70/base").mkdir(parents=True)
    assert "prune" not in rows(make_plan(config, "cpu", tmp_path))


def test_records_of_a_cpu_say_nothing_of_a_gpu(tmp_path):
    made_up_grid(tmp_path / "results", models=["smollm2-135m"], pruners=["wanda"], seeds=[0])
    config = grid(patterns=["s70"])
    assert (
        not make_plan(config, "cpu", tmp_path).speeds.about([("repair", "lora")]).count("assumed")
    )
    assumed = make_plan(config, "cuda", tmp_path)
    assert "assumed: no record of a GPU says it" in "\n".join(assumed.notes())
    assert "`make plan` says what that assumes" in str(assumed)


def test_speeds_are_those_of_records_by_stage_and_method(tmp_path):
    paths = made_up_grid(tmp_path, models=["smollm2-135m"], repairs=["none", "lora"], seeds=[0])
    speeds = measured_speeds(grid(), read_records(paths), "cpu")
    parameters = 134_515_008
    assert speeds.of("repair", "lora") == pytest.approx(6 * parameters * 12288 / 56)
    assert speeds.of("prune", "magnitude") < speeds.of("prune") < speeds.of("prune", "wanda")
    # A method without a record goes as fast as the others of its stage.
    assert speeds.of("repair", "spp") == speeds.of("repair", "lora")
    assert measured_speeds(grid(), [], "cpu").of("repair", "lora") == SPEED["cpu"]


def test_a_variant_is_a_training_of_its_own_that_takes_as_long(tmp_path):
    values = grid(pruners=["wanda"], repairs=["none", "seft"]).model_dump(
        mode="json", by_alias=True, exclude_none=True
    )
    values["variants"] = {"seft-random": {"of": "seft", "init": "random"}}
    values["grid"]["repairs"] = ["none", "seft-random"]
    made_up_grid(tmp_path / "results", models=["smollm2-135m"], repairs=["seft"], seeds=[0])
    variant = make_plan(load(values), "cpu", tmp_path)
    of = make_plan(grid(pruners=["wanda"], repairs=["none", "seft"]), "cpu", tmp_path / "other")
    assert rows(variant)["repair"].jobs == 1
    assert rows(variant)["repair"].disk == rows(of)["repair"].disk
    # The records of SEFT, of 56 s, say how long its variant takes.
    assert rows(variant)["repair"].longest * 3600 == pytest.approx(56 + 15, abs=2)


def test_a_model_of_unknown_shape_is_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    values = read_files([ROOT / "config/smoke.yaml"])
    plan = make_plan(load(values), "cpu", tmp_path)
    assert "tiny: nothing but start-up" in "\n".join(plan.notes())


@pytest.fixture
def plan_of(tmp_path, monkeypatch):
    """Runs ``python -m bench plan`` for a grid of a LLaMA-2-7B, with limits."""
    changes = {
        "grid": {"models": ["llama"], "pruners": ["wanda"], "repairs": ["none", "full", "seft"]},
        "models": {"llama": LLAMA},
        "training": {"length": 1024, "batch_size": 4, "steps": 2000},
        "runtime": {"device": "cuda"},
    }
    (tmp_path / "grid.yaml").write_text(yaml.safe_dump(changes))
    monkeypatch.chdir(tmp_path)

    def run(limits: str) -> None:
        (tmp_path / "limits.yaml").write_text(limits)
        main(["--configfile", "grid.yaml", "--profile", "."])

    return run


def test_it_is_said_which_jobs_do_not_fit(plan_of, capsys):
    plan_of("gpu_memory_mib: 60000\nminutes: 2880\n")
    said = capsys.readouterr().out
    (misfit,) = [line for line in said.splitlines() if line.startswith("Does not fit")]
    assert misfit.startswith("Does not fit: repair full of llama (1 jobs): up to ")
    assert misfit.endswith("MiB of GPU memory; limit 60,000")
    assert "assumed" in said


def test_limits_that_are_none_are_one_line(plan_of, capsys):
    with pytest.raises(SystemExit) as exit_:
        plan_of("memory_gib: 40\n")
    assert exit_.value.code == 1
    (line,) = capsys.readouterr().err.splitlines()
    for part in ("limits.yaml", "memory_gib = 40", "memory_mib, gpu_memory_mib, minutes, disk_gib"):
        assert part in line
