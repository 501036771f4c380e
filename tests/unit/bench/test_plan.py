"""What a grid takes: jobs, hours, memory and disk."""

import json
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path

import dotted
import pytest
import torch
import yaml
from made_up import made_up_grid
from snakemake.utils import update_config
from transformers import LlamaConfig

from bench.config.loading import load, read_files
from bench.evaluation.tasks import TaskSpec
from bench.paths import ROOT
from bench.planning.plan import main, make_plan
from bench.planning.speeds import CALIBRATION, CORES, EFFICIENCY, Device, device_of, with_records
from bench.records.record import read_records

CORE = Device("cpu", "core", "stated", speed=CORES[torch.bfloat16], launch=0.0)
H200 = device_of("cuda", "NVIDIA H200")
SMALL = "smollm2-135m"
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


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def grid(changes: dict | None = None, **of_grid):
    values = read_files([])
    update_config(values, {"grid": of_grid, **(changes or {})})
    return load(values)


def jobs(plan) -> dict:
    return plan.rules["jobs"].to_dict()


def longest(plan, rule: str) -> float:
    """Seconds of the longest job of a rule."""
    return plan.rules.loc[rule, "longest h"] * 3600


def test_each_job_counts_once():
    plan = make_plan(grid(seeds=[0, 1, 2]), CORE)
    # LoRA's two rows come of one training; the unrepaired base has one cell.
    assert jobs(plan) == {
        "fetch_model": 1,
        "evaluate_dense": 1,
        "prune": 3,
        "repair": 3 * 4 * 3,
        "evaluate": 3 * (1 + 5 * 3),
    }
    assert f"Grid of {1 + 3 * (1 + 5 * 3)} cells" in str(plan)
    assert "3 prune, 36 repair" in str(plan)


# Seconds on one core with AVX-512 BF16, in results/reference/sparsities/table1.csv (Wanda, 60 %).
ON_A_CORE = {
    ("repair", "full"): 73.4,
    ("repair", "lora"): 68.1,
    ("repair", "spp"): 111.0,
    ("repair", "seft"): 69.0,
    ("repair", "masked-lora"): 72.3,
    ("repair", "static"): 67.7,
    ("repair", "full-dense"): 68.6,
    ("repair", "shira"): 71.3,
    ("prune", "wanda"): 15.4,
    ("prune", "sparsegpt"): 28.2,
    ("evaluate_dense", None): 31.8,
}


@pytest.mark.parametrize(("kind", "measured"), ON_A_CORE.items(), ids=str)
def test_jobs_of_the_default_grid_take_the_time_that_they_took(kind, measured):
    rule, method = kind
    of = {"prune": {"pruners": [method]}, "repair": {"repairs": [method]}}.get(rule, {})
    plan = make_plan(grid(**of), CORE)
    start = longest(plan, "fetch_model")
    assert measured / 1.5 < longest(plan, rule) - start < measured * 1.5


# Seconds of a step of 2 x 1,024 tokens in the shape of LLaMA-2-7B on an H200 (docs/cost.md).
ON_AN_H200 = {
    "lora": 0.210,
    "full": 0.276,
    "spp": 0.353,
    "masked-lora": 0.298,
    "static": 0.211,
    "seft": 0.217,
}


@pytest.mark.parametrize(("repair", "measured"), ON_AN_H200.items())
def test_steps_of_a_7b_take_the_time_that_they_took(repair, measured):
    training = {"length": 1024, "batch_size": 2, "steps": 10_000}
    changes = {"models": {SMALL: {"shape": LLAMA["shape"] | {"tied": False}}}, "training": training}
    plan = make_plan(grid(changes, repairs=[repair]), H200)
    assert measured / 1.5 < longest(plan, "repair") / 10_000 < measured * 1.5


@pytest.mark.parametrize(
    ("repair", "measured"), [("full", 6.1), ("lora", 9.1), ("spp", 10.3), ("seft", 11.8)]
)
def test_a_small_model_waits_for_kernels_to_start(repair, measured):
    # Seconds of 48 steps of SmolLM2 on an H200, in results/reference/sparsities/table1.csv (70 %).
    plan = make_plan(grid(repairs=[repair]), H200)
    seconds = longest(plan, "repair") - longest(plan, "prune")
    assert measured / 1.5 < seconds < measured * 1.5


def test_hours_are_of_cores_and_wait_for_fewer_where_jobs_have_several():
    one, four = (make_plan(grid({"runtime": {"threads": threads}}), CORE) for threads in (1, 4))
    assert four.hours > one.hours
    assert longest(four, "repair") < longest(one, "repair") / 2


def test_what_is_there_is_not_run_again_and_says_how_long_the_rest_takes(tmp_path):
    made_up_grid(tmp_path / "results", models=[SMALL], pruners=["wanda"], seeds=[0])
    config = grid(pruners=["wanda"], patterns=["s50", "s60", "s70"])
    plan = make_plan(config, CORE)
    # Records are there, checkpoints are not: those of the pattern that is left are needed.
    assert jobs(plan) == {"fetch_model": 1, "prune": 1, "repair": 4, "evaluate": 6}
    # Made-up records: 80 s of LoRA and of `lora-dense` each, 56 s of SEFT, and so on.
    assert longest(plan, "repair") == pytest.approx(56 + 15, rel=0.2)
    done = make_plan(grid(pruners=["wanda"], patterns=["s50"]), CORE)
    assert str(done).endswith("still to run: nothing.")
    (tmp_path / "results/checkpoints/smollm2-135m/wanda-s70/base").mkdir(parents=True)
    assert "prune" not in jobs(make_plan(config, CORE))


def test_speeds_are_those_of_records_by_stage_and_method(tmp_path):
    paths = made_up_grid(tmp_path, models=[SMALL], repairs=["none", "lora"], seeds=[0])
    device = with_records(CORE, grid(), list(read_records(paths).values()))
    parameters = 134_515_008
    assert device.speed_of("repair", "lora") == pytest.approx(4 * parameters * 12288 / 56)
    # A method without a record goes as fast as the others of its stage.
    assert device.speed_of("repair", "spp") == device.speed_of("repair", "lora")
    assert "repair lora 1.2e+11 (earlier records)" in str(device)
    # Records of a CPU say nothing of a GPU.
    on_gpu = with_records(H200, grid(), list(read_records(paths).values()))
    assert on_gpu.speed_of("repair", "lora") == H200.speed


@pytest.mark.parametrize("text", ["", "[]", '{"speed": 1}'])
def test_a_damaged_calibration_says_nothing(tmp_path, text):
    (tmp_path / CALIBRATION).parent.mkdir()
    (tmp_path / CALIBRATION).write_text(text)
    damaged = device_of("cpu")
    (tmp_path / CALIBRATION).unlink()
    assert damaged == device_of("cpu")


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("cell.pruner", "gone"),
        ("config.resolved.pruning.gone", 1),
        ("config.resolved.calibration", ...),
        ("config.resolved.evaluation.tasks.wiki.gone", 1),
    ],
)
def test_records_of_what_is_no_longer_there_say_nothing(tmp_path, path, value):
    paths = made_up_grid(tmp_path, models=[SMALL], repairs=["none"])
    sparse = [
        record for record in read_records(paths).values() if record["cell"]["pruner"] != "dense"
    ]
    assert with_records(CORE, grid(), sparse).measured
    changed = [dotted.change(record, path, value) for record in sparse]
    assert with_records(CORE, grid(), changed).measured == {}


@pytest.mark.parametrize(
    ("gpu", "tera"),
    [
        ("NVIDIA A100-SXM4-80GB", 312),
        ("NVIDIA A10", 125),
        ("NVIDIA L40S", 362),
        ("NVIDIA L40", 181),
        ("NVIDIA L4", 121),
    ],
)
def test_a_gpu_is_found_in_the_table_by_its_name(gpu, tera):
    assert device_of("cuda", gpu).speed == EFFICIENCY * tera * 1e12


# As vendors state them: without tensor cores.
@pytest.mark.parametrize(("gpu", "tera"), [("A100", 19.5), ("H200", 67), ("L4", 30.3)])
def test_float32_is_as_slow_as_stated(gpu, tera):
    float32 = device_of("cuda", gpu, dtype="float32")
    assert float32.speed == pytest.approx(EFFICIENCY * tera * 1e12)
    assert "operations a second in float32 of one" in str(float32)
    assert device_of("cuda", gpu, dtype="bfloat16") == device_of("cuda", gpu)


def test_a_core_is_as_fast_as_the_dtype_of_the_grid():
    for dtype in (torch.bfloat16, torch.float32):
        name = str(dtype).removeprefix("torch.")
        assert device_of("cpu", dtype=name).speed == CORES[dtype]


def test_records_of_another_dtype_say_nothing(tmp_path):
    paths = made_up_grid(tmp_path, models=[SMALL], repairs=["lora"], seeds=[0])
    records = list(read_records(paths).values())
    assert {record["provenance"]["dtype"] for record in records} == {"bfloat16"}
    assert with_records(device_of("cpu", dtype="bfloat16"), grid(), records).measured
    assert not with_records(device_of("cpu", dtype="float32"), grid(), records).measured


def test_a_calibrated_device_comes_before_the_table(tmp_path):
    mine = Device("cuda", "NVIDIA H200", "calibrated", speed=2e14, launch=0.001)
    (tmp_path / CALIBRATION).parent.mkdir()
    (tmp_path / CALIBRATION).write_text(json.dumps(asdict(mine)))
    assert device_of("cuda") == device_of("cuda", "H200") == mine
    assert device_of("cuda", "A100").speed == EFFICIENCY * 312e12
    assert device_of("cpu").kind == "cpu"


def test_a_limit_of_a_group_is_of_each_of_its_tasks():
    # The subjects of MMLU, of which each has a file among lm-eval's.
    subjects = Path(find_spec("lm_eval").origin).parent.glob("tasks/mmlu/default/mmlu_*.yaml")
    limited = TaskSpec(metric="acc", limit=100)
    of_one = limited.tokens("arc_easy")
    assert limited.tokens("mmlu") == len(list(subjects)) * of_one == 57 * of_one
    assert limited.tokens("mmlu", items=7) == 7 * of_one / 100


def test_a_variant_is_a_training_of_its_own_that_takes_as_long(tmp_path, monkeypatch):
    variants = {"variants": {"seft-random": {"of": "seft", "init": "random"}}}
    made_up_grid(tmp_path / "results", models=[SMALL], repairs=["seft"], seeds=[0])
    config = grid(variants, pruners=["wanda"], repairs=["none", "seft-random"])
    variant = make_plan(config, CORE)
    monkeypatch.chdir(tmp_path / "results")
    of = make_plan(grid(pruners=["wanda"], repairs=["none", "seft"]), CORE)
    assert jobs(variant)["repair"] == 1
    assert variant.rules.loc["repair", "disk GiB"] == of.rules.loc["repair", "disk GiB"]
    # The records of SEFT, of 56 s, say how long its variant takes.
    assert longest(variant, "repair") == pytest.approx(56 + 15, abs=2)


def test_what_is_not_known_is_not_zero():
    values = read_files([ROOT / "config/smoke.yaml"])
    values["grid"]["models"] = ["tiny", SMALL]
    plan = make_plan(load(values), CORE)
    assert plan.table().splitlines()[-1].split()[2] == "unknown"
    assert "core-hours; unknown hours for tiny." in str(plan)
    assert "give models.tiny.shape, or fetch it first" in "\n".join(plan.notes())
    values["grid"]["models"] = ["tiny"]
    alone = make_plan(load(values), CORE)
    assert str(alone).endswith("evaluate; unknown hours for tiny.")
    assert "days" not in "\n".join(alone.notes())


def test_the_shape_of_a_local_model_is_read(tmp_path):
    LlamaConfig().save_pretrained(tmp_path)
    local = {"source": {"source": "path", "path": str(tmp_path)}}
    plan = make_plan(grid({"models": {"mine": local}}, models=["mine"]), CORE)
    assert plan.unknown == []
    assert plan.rules.loc["fetch_model", "disk GiB"] == pytest.approx(2 * 6.738e9 / 2**30, rel=1e-3)


def test_the_largest_savings_are_said():
    config = grid(pruners=["wanda"], seeds=[0, 1, 2, 3], repairs=["none", "lora"])
    *_, summary = make_plan(config, CORE).notes()
    assert summary.index("grid.seeds: one (") < summary.index("training.steps: half (")
    hours = make_plan(config, CORE).hours
    without = grid(pruners=["wanda"], seeds=[0], repairs=["none", "lora"])
    saved = hours - make_plan(without, CORE).hours
    assert f"grid.seeds: one ({saved:.3g})" in summary


def test_rows_of_one_training_are_saved_together():
    def plan(*repairs: str):
        return make_plan(grid(pruners=["wanda"], repairs=["none", *repairs]), CORE)

    *_, summary = plan("lora", "lora-dense", "spp").notes()
    saved = plan("lora", "lora-dense", "spp").hours - plan("spp").hours
    assert f"grid.repairs: without lora and lora-dense ({saved:.3g})" in summary
    *_, summary = plan("lora", "full").notes()
    assert "grid.repairs: without lora (" in summary


@pytest.fixture
def plan_of(tmp_path):
    """Runs ``python -m bench plan`` for a grid of a LLaMA-2-7B, with limits."""
    changes = {
        "grid": {"models": ["llama"], "pruners": ["wanda"], "repairs": ["none", "full", "static"]},
        "models": {"llama": LLAMA},
        "training": {"length": 1024, "batch_size": 4, "steps": 2000},
        "runtime": {"device": "cuda"},
    }
    (tmp_path / "grid.yaml").write_text(yaml.safe_dump(changes))

    def run(limits: str) -> None:
        (tmp_path / "limits.yaml").write_text(limits)
        main(["--configfile", "grid.yaml", "--profile", "."])

    return run


def misfits_in(said: str) -> list[str]:
    return [line for line in said.splitlines() if line.startswith("Does not fit")]


def test_it_is_said_which_jobs_do_not_fit(plan_of, capsys):
    plan_of("gpu: H100\ngpu_memory_mib: 40000\nminutes: 2880\n")
    said = capsys.readouterr().out
    (misfit,) = misfits_in(said)
    assert misfit.startswith("Does not fit: repair full of llama (1 jobs): gpu_memory_mib up to ")
    # What trains is what is too large.
    assert misfit.endswith("; limit 40,000")
    assert "of one H100 (30% of what is stated for H100)" in said


def test_the_dtype_of_the_grid_reaches_the_plan(plan_of, capsys):
    changed = yaml.safe_load(Path("grid.yaml").read_text())
    changed["runtime"]["dtype"] = "float32"
    Path("grid.yaml").write_text(yaml.safe_dump(changed))
    plan_of("gpu: A100\ngpu_memory_mib: 80000\n")
    # 0.3 of 19.5e12.
    assert "5.8e+12 operations a second in float32 of one A100" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("limit", "remedy"),
    [
        (20_000, None),
        (16_000, "; with training.activation_checkpointing: true it fits"),
        (13_500, "; with storage: bitmask it fits"),
        (9_000, "; with training.activation_checkpointing: true and storage: bitmask it fits"),
        (6_000, ""),
    ],
)
def test_it_is_said_what_makes_a_training_fit(plan_of, capsys, limit, remedy):
    plan_of(f"gpu_memory_mib: {limit}\n")
    found = [line for line in misfits_in(capsys.readouterr().out) if "repair static" in line]
    # The batch takes more, and is cut into micro-batches.
    assert [line.partition(f"; limit {limit:,}")[2] for line in found] == (
        [] if remedy is None else [remedy]
    )


def test_what_makes_a_training_fit_is_not_found_in_a_variant_of_the_users(plan_of, capsys):
    changed = yaml.safe_load(Path("grid.yaml").read_text())
    changed["variants"] = {"packed": {"of": "static", "storage": "bitmask"}}
    Path("grid.yaml").write_text(yaml.safe_dump(changed))
    plan_of("gpu_memory_mib: 13500\n")
    (line,) = (line for line in misfits_in(capsys.readouterr().out) if "repair static" in line)
    assert line.endswith("; limit 13,500; with storage: bitmask it fits")


def test_that_jobs_fit_a_gpu_of_unknown_memory_is_not_said(plan_of, capsys):
    plan_of("gpu: A100\nminutes: 1000000\n")
    *_, last = capsys.readouterr().out.splitlines()
    assert last.startswith("Unknown: whether jobs fit a GPU, whose memory is not known; ")
    plan_of("gpu: A100\ngpu_memory_mib: 81000\n")
    assert capsys.readouterr().out.splitlines()[-1] == "Every job fits."


@pytest.mark.parametrize("limits", ["memory_gib: 40\n", "gpu: [A100]\n"])
def test_limits_that_are_none_are_one_line(plan_of, capsys, limits):
    with pytest.raises(SystemExit) as exit_:
        plan_of(limits)
    assert exit_.value.code == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert f"limits.yaml: {limits.partition(':')[0]} = " in line
