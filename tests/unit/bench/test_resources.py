"""What jobs need, and what they ask a scheduler for."""

from dataclasses import replace
from math import ceil

import pytest
import torch
from snakemake.utils import update_config
from transformers import AutoModelForCausalLM, LlamaConfig

from baselines.pruning import prune
from baselines.pruning.pattern import Pattern
from baselines.repair import build_repair
from bench.config.loading import load, read_files
from bench.config.training import Training
from bench.models.shape import Shape, read_shape
from bench.planning.limits import Limits, limits_here, misfits
from bench.planning.needs import BASE_MIB, BASE_MINUTES, MIB, Job, memory_mib, minutes, needs
from bench.planning.speeds import Device
from bench.tools.measured_training import SavedForBackward
from bench.training.costs import SHARE, kept_bytes, training_memory

CPU, CUDA = (Device(kind, "it", "stated", speed=1e11, launch=0.0) for kind in ("cpu", "cuda"))
SMALL = "smollm2-135m"
OF_BASE = {"model": SMALL, "pruner": "wanda", "pattern": "s60"}
PRUNE, REPAIR = Job("prune", **OF_BASE), Job("repair", **OF_BASE, repair="lora")
EVALUATE = Job("evaluate", **OF_BASE, repair="lora")
JOBS = [PRUNE, REPAIR, EVALUATE, Job("evaluate_dense", SMALL)]


def config(**changes):
    values = read_files([])
    update_config(values, {"runtime": {"dtype": "bfloat16"}, **changes})
    return load(values)


# Bytes that the README gives for the default grid.
STORED = [
    ("fetch_model", "wanda", None, 272_586_501),
    ("prune", "wanda", None, 13_292_800),
    ("prune", "sparsegpt", None, 98_252_424),
    ("repair", "wanda", "full", 85_148_791),
    ("repair", "wanda", "lora", 9_834_356),
    ("repair", "wanda", "spp", 10_255_116),
]


@pytest.mark.parametrize(("rule", "pruner", "repair", "measured"), STORED)
def test_disk_is_what_the_default_grid_took(rule, pruner, repair, measured):
    need = needs(config(), Job(rule, SMALL, pruner, "s60", repair), "cpu")
    assert need.disk == pytest.approx(measured, rel=0.02)


WHEEL = {"package": "a", "version": "1", "file": "a.whl", "sha256": "0" * 64}
PYPI = {"source": "pypi", **WHEEL}
PARTS = {"source": "pypi-parts", "sha256": "0" * 64, "parts": [WHEEL | {"members": ["a/part00"]}]}
HUB = {"source": "hub", "repository": "a/b", "revision": "0" * 40}


@pytest.mark.parametrize(
    ("source", "converted"),
    [
        (PYPI | {"members": ["a/model.gguf"]}, True),
        (PYPI | {"members": ["a/config.json", "a/model.safetensors"]}, False),
        (PARTS | {"file": "model.gguf"}, True),
        ({"source": "path", "path": "/models/model.gguf"}, True),
        ({"source": "path", "path": "/models/model"}, False),
        (HUB | {"files": ["*.Q4_0.gguf"]}, True),
        (HUB, False),
        ({"source": "synthetic"}, False),
    ],
    ids=str,
)
def test_memory_to_convert_is_asked_for_what_is_converted(source, converted):
    spec = {"source": source, "shape": SMOLLM2.model_dump()}
    need = needs(config(models={"mine": spec}), Job("fetch_model", "mine"), "cpu")
    # Its 134,515,008 parameters in float32, twice.
    assert need.host == (8 * 134_515_008 if converted else 0)


def test_deltas_take_no_more_disk_than_estimated():
    need = needs(config(), Job("repair", **OF_BASE, repair="seft"), "cpu")
    assert 23_894_860 < need.disk < 1.3 * 23_894_860


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32], ids=str)
@pytest.mark.parametrize("method", ["full", "lora", "spp", "seft"])
def test_activations_are_what_the_forward_pass_saves(method, dtype, tmp_path):
    llama = LlamaConfig(
        hidden_size=128,
        intermediate_size=352,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        vocab_size=300,
    )
    llama.save_pretrained(tmp_path)
    model = AutoModelForCausalLM.from_config(llama, dtype=dtype)
    prune(model, "magnitude", sparsity=0.6)
    repair = build_repair(method)
    model = repair.wrap(model, seed=0).train()
    tokens = torch.arange(128).view(1, -1)
    watch = SavedForBackward(model)
    with watch, torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
        model(tokens, use_cache=False, logits_to_keep=1)
    dropout = getattr(repair.options, "dropout", 0) > 0
    kept = kept_bytes(read_shape(tmp_path), dtype.itemsize, 0, dropout=dropout)
    assert watch.bytes == pytest.approx(128 * 2 * kept, rel=0.1)


LLAMA2_7B = Shape(
    blocks=32, hidden=4096, intermediate=11008, heads=32, key_value_heads=32, vocabulary=32000
)
SMOLLM2 = Shape(
    blocks=30,
    hidden=576,
    intermediate=1536,
    heads=9,
    key_value_heads=3,
    vocabulary=49152,
    tied=True,
)
# Peaks in MiB above the loaded base, as docs/cost.md has them: a 7B with 2 x 1,024 tokens on an
# H200, SmolLM2 with 2 x 128 on a core, in bfloat16 and in float32.
PEAKS = {
    (LLAMA2_7B, "cuda", 1024, 2): {
        "lora": 15_535,
        "full": 50_528,
        "spp": 15_492,
        "masked-lora": 11_186,
        "static": 11_389,
        "seft whole in turn": 14_963,
    },
    (SMOLLM2, "cpu", 128, 2): {
        "lora": 582,
        "full": 1107,
        "spp": 557,
        "masked-lora": 434,
        "static": 432,
        "seft": 470,
        "seft whole in turn": 626,
        "seft whole": 870,
    },
    (SMOLLM2, "cpu", 128, 4): {
        "lora": 937,
        "full": 1349,
        "spp": 963,
        "masked-lora": 771,
        "static": 730,
        "seft whole in turn": 882,
        "seft gradient": 777,
        "seft whole": 1132,
    },
}


def memory_of(
    shape: Shape,
    device: str,
    length: int,
    element: int,
    repair: str,
    options: dict | None = None,
    **settings,
):
    training = Training(
        **{"mixture": [{"data": "any"}], "length": length, "batch_size": 2, "steps": 1} | settings
    )
    return training_memory(
        build_repair(repair, pattern=Pattern.parse("s60"), **options or {}),
        shape,
        training,
        element=element,
        device=device,
    )


@pytest.mark.parametrize(
    ("setting", "repair", "measured"),
    [(setting, *peak) for setting, peaks in PEAKS.items() for peak in peaks.items()],
    ids=str,
)
def test_peaks_are_what_was_measured(setting, repair, measured):
    name, *windows = repair.split()
    options = {"candidates": None} if "whole" in windows else {}
    if windows and "turn" not in windows:
        options["init"] = "gradient"  # Then all layers have windows at the same time.
    memory = memory_of(*setting, name, options)
    assert (memory.peak(2) - memory.base) / MIB == pytest.approx(measured, rel=0.2)


ON_A_GPU = (LLAMA2_7B, "cuda", 1024, 2)


def test_a_bit_mask_takes_what_was_measured():
    memory = memory_of(*ON_A_GPU, "lora", {"storage": "bitmask"})
    assert memory.base / MIB == pytest.approx(6218, rel=0.01)


def test_recomputed_activations_are_those_of_one_block():
    kept, recomputed = (
        memory_of(*ON_A_GPU, "lora", activation_checkpointing=on).block for on in (False, True)
    )
    of_a_block = 1024 * kept_bytes(LLAMA2_7B, 2, 0, dropout=True)
    inputs = 1024 * 32 * 2 * 4096
    assert kept - recomputed == 31 * of_a_block - inputs


def test_the_largest_micro_batch_that_fits_is_taken():
    memory = memory_of(*ON_A_GPU, "lora", batch_size=12)
    divisors = [12, 6, 4, 3, 2, 1]
    for smaller, larger in zip(divisors[1:], divisors, strict=False):
        needed = ceil(memory.peak(larger) / SHARE)
        assert memory.micro_batch(12, needed) == larger
        assert memory.micro_batch(12, needed - 2) == smaller
    assert memory.micro_batch(12, 1) == 1
    assert memory.micro_batch(12, None) == 12


@pytest.mark.parametrize("device", [CPU, CUDA], ids=["cpu", "cuda"])
@pytest.mark.parametrize("job", JOBS, ids=lambda job: job.rule)
def test_memory_and_time_follow_from_the_size_of_the_model(job, device):
    small = config()
    shape = {key: 2 * value for key, value in dict(small.models[SMALL].shape).items()}
    large = config(models={SMALL: {"shape": shape | {"tied": True}}})
    assert BASE_MIB < memory_mib(small, job, device) < memory_mib(large, job, device)
    assert BASE_MINUTES < minutes(small, job, device) <= minutes(large, job, device)
    assert (needs(small, job, device.kind).device > 0) == (device == CUDA)


def test_a_model_that_is_not_there_asks_for_a_start_alone(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    unknown = config(models={SMALL: {"shape": None}})
    assert memory_mib(unknown, REPAIR, CPU) == BASE_MIB
    assert minutes(unknown, REPAIR, CPU) == BASE_MINUTES + 1
    (line,) = misfits(unknown, {REPAIR: 1}, CPU, Limits(memory_mib=1))
    assert line == f"Unknown: whether jobs of {SMALL} fit"


def test_a_repair_takes_time_for_its_tokens():
    once = minutes(config(training={"steps": 10_000}), REPAIR, CPU) - BASE_MINUTES
    twice = minutes(config(training={"steps": 20_000}), REPAIR, CPU) - BASE_MINUTES
    assert twice == pytest.approx(2 * once, rel=0.01)


def test_a_repair_fits_that_fits_with_micro_batches_of_one_block():
    many = config(training={"batch_size": 64})
    least = needs(many, REPAIR, "cuda", available=1).device
    assert least < needs(many, REPAIR, "cuda").device / 2
    assert list(misfits(many, {REPAIR: 3}, CUDA, Limits(gpu_memory_mib=least // MIB + 1))) == []
    (line,) = misfits(many, {REPAIR: 3}, CUDA, Limits(gpu_memory_mib=100))
    assert line.startswith(f"Does not fit: repair lora of {SMALL} (3 jobs): gpu_memory_mib up to ")


def test_windows_of_gradients_are_of_whole_layers_where_zeros_move_in_their_group():
    def device(nm: str) -> int:
        values = config(repair={"seft": {"nm": nm, "init": "gradient"}})
        return needs(values, Job("repair", SMALL, "wanda", "2of4", "seft"), "cuda").device

    layers = SMOLLM2.layers.values()
    whole = 4 * sum(outputs * inputs for outputs, inputs in layers)
    # As many candidates as three times the deltas of rank 8, and those, at 6 bytes each.
    limited = 6 * 4 * 8 * sum(outputs + inputs for outputs, inputs in layers)
    assert device("evolve") - device("fixed") == 30 * (whole - limited)


def test_processes_share_what_a_full_training_holds():
    def of(method: str, processes: int):
        values = config(runtime={"processes": processes}, training={"batch_size": 4})
        return needs(values, Job("repair", **OF_BASE, repair=method), "cuda")

    one, four = of("full", 1), of("full", 4)
    assert (one.processes, four.processes) == (1, 4)
    assert four.device < one.device
    assert four.work == one.work
    assert of("lora", 4) == of("lora", 1)


def test_a_trial_of_the_sweep_is_of_one_process():
    values = config(runtime={"processes": 4}, training={"batch_size": 4})
    trial = Job("try_learning_rate", **OF_BASE, repair="full")
    assert needs(values, trial, "cpu").processes == 1
    assert minutes(values, trial, CPU) > minutes(values, replace(trial, rule="repair"), CPU)


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_a_dense_model_beside_takes_its_memory_and_a_forward_pass(device):
    alone, beside = (
        needs(config(), Job("repair", **OF_BASE, repair=repair), device)
        for repair in ("lora", "lora-distill")
    )
    where = "host" if device == "cpu" else "device"
    assert getattr(beside, where) - getattr(alone, where) >= 2 * SMOLLM2.parameters
    assert beside.work - alone.work == 2 * SMOLLM2.parameters * 48 * 2 * 128


def test_block_by_block_the_text_is_on_the_host_and_little_on_the_device():
    def of(repair: str, steps: int):
        values = config(training={"steps": steps})
        return needs(values, Job("repair", **OF_BASE, repair=repair), "cuda")

    full, once, twice = of("full", 100), of("reconstruct", 100), of("reconstruct", 200)
    assert once.device < full.device / 1.5
    assert once.device == twice.device
    # Two streams in bfloat16, of 576 numbers for each of 2 x 128 tokens a step.
    assert twice.host - once.host == 2 * 2 * 576 * 100 * 2 * 128


def test_disk_is_of_all_jobs_together():
    jobs = {Job("prune", SMALL, "sparsegpt", "s60"): 100}
    (line,) = misfits(config(), jobs, CPU, Limits(disk_gib=1))
    assert line == "Does not fit: all jobs together: disk_gib 9; limit 1"


def test_this_machine_has_memory_and_disk():
    here = limits_here(config())
    assert here.memory_mib > 500
    assert here.disk_gib
