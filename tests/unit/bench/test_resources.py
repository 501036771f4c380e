"""What jobs need, and what they ask a scheduler for."""

import pytest
import torch
from snakemake.utils import update_config
from transformers import AutoModelForCausalLM, LlamaConfig

from baselines.pruning import prune
from baselines.repair import build_repair
from bench.config import load
from bench.models.shape import read_shape, shape_of
from bench.planning.limits import Limits, limits_here, misfits
from bench.planning.needs import (
    BASE_MIB,
    BASE_MINUTES,
    LOGITS_BYTES,
    Job,
    activation_bytes,
    memory_mib,
    minutes,
    needs,
)
from bench.planning.plan import read_files
from bench.tools.measured_training import SavedForBackward

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


def test_deltas_take_no_more_disk_than_estimated():
    need = needs(config(), Job("repair", **OF_BASE, repair="seft"), "cpu")
    assert 23_894_860 < need.disk < 1.3 * 23_894_860


@pytest.mark.parametrize("method", ["full", "lora", "spp", "seft"])
def test_activations_are_what_the_forward_pass_saves(method, tmp_path):
    llama = LlamaConfig(
        hidden_size=128,
        intermediate_size=352,
        num_hidden_layers=2,
        num_attention_heads=4,
        vocab_size=300,
    )
    llama.save_pretrained(tmp_path)
    model = AutoModelForCausalLM.from_config(llama, dtype=torch.bfloat16)
    prune(model, "magnitude", sparsity=0.6)
    model = build_repair(method).wrap(model, seed=0).train()
    tokens = torch.arange(128).view(1, -1)
    watch = SavedForBackward(model)
    with watch, torch.autocast("cpu", torch.bfloat16):
        model(tokens, use_cache=False, logits_to_keep=1)
    options = {"repair": {method: {"learning_rate": 1e-3}}, "training": {"length": 128}}
    job = Job("repair", SMALL, "wanda", "s60", method)
    estimate = activation_bytes(config(**options), job, read_shape(tmp_path), 2)
    logits = 128 * LOGITS_BYTES * 300
    assert watch.bytes == pytest.approx(estimate - logits, rel=0.1)


@pytest.mark.parametrize("device", ["cpu", "cuda"])
@pytest.mark.parametrize("job", JOBS, ids=lambda job: job.rule)
def test_memory_and_time_follow_from_the_size_of_the_model(job, device):
    small = config()
    shape = {key: 2 * value for key, value in dict(small.models[SMALL].shape).items()}
    large = config(models={SMALL: {"shape": shape | {"tied": True}}})
    assert BASE_MIB < memory_mib(small, job, device) < memory_mib(large, job, device)
    assert BASE_MINUTES < minutes(small, job, device) <= minutes(large, job, device)
    assert (needs(small, job, device).device > 0) == (device == "cuda")


def test_a_model_that_is_not_there_asks_for_a_start_alone(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    unknown = config(models={SMALL: {"shape": None}})
    assert memory_mib(unknown, REPAIR, "cpu") == BASE_MIB
    assert minutes(unknown, REPAIR, "cpu") == BASE_MINUTES + 1


def test_a_repair_takes_time_for_its_tokens():
    once = minutes(config(training={"steps": 10_000}), REPAIR, "cpu") - BASE_MINUTES
    twice = minutes(config(training={"steps": 20_000}), REPAIR, "cpu") - BASE_MINUTES
    assert twice == pytest.approx(2 * once, rel=0.01)


def test_a_repair_fits_that_fits_with_micro_batches_of_one_block():
    many = config(training={"batch_size": 64})
    need = needs(many, REPAIR, "cuda")
    fits = Limits(gpu_memory_mib=(need.device - need.spared) // 2**20 + 1)
    assert fits.gpu_memory_mib < need.device / 2**20 / 2
    assert list(misfits(many, {REPAIR: 3}, "cuda", fits)) == []
    (line,) = misfits(many, {REPAIR: 3}, "cuda", Limits(gpu_memory_mib=100))
    assert line.startswith(f"repair lora of {SMALL} (3 jobs): up to ")


def test_processes_share_what_a_full_training_holds():
    def of(method: str, processes: int):
        values = config(runtime={"processes": processes}, training={"batch_size": 4})
        return needs(values, Job("repair", **OF_BASE, repair=method), "cuda")

    one, four = of("full", 1), of("full", 4)
    assert (one.processes, four.processes) == (1, 4)
    assert four.device < one.device
    assert four.work == one.work
    assert of("lora", 4) == of("lora", 1)


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_a_dense_model_beside_takes_its_memory_and_a_forward_pass(device):
    alone, beside = (
        needs(config(), Job("repair", **OF_BASE, repair=repair), device)
        for repair in ("lora", "lora-distill")
    )
    where = "host" if device == "cpu" else "device"
    weights = 2 * shape_of(config().models[SMALL].shape, SMALL).parameters
    assert getattr(beside, where) - getattr(alone, where) >= weights
    assert beside.work == pytest.approx(alone.work * 4 / 3)


def test_block_by_block_the_text_is_on_the_host_and_little_on_the_device():
    def of(repair: str, steps: int):
        values = config(training={"steps": steps})
        return needs(values, Job("repair", **OF_BASE, repair=repair), "cuda")

    full, once, twice = of("full", 100), of("reconstruct", 100), of("reconstruct", 200)
    assert once.device < full.device - full.spared
    assert once.device == twice.device
    # Two streams in bfloat16, of 576 numbers for each of 2 x 128 tokens a step.
    assert twice.host - once.host == 2 * 2 * 576 * 100 * 2 * 128


def test_disk_is_of_all_jobs_together():
    jobs = {Job("prune", SMALL, "sparsegpt", "s60"): 100}
    (line,) = misfits(config(), jobs, "cpu", Limits(disk_gib=1))
    assert line == "all jobs together: 9 GiB of disk; limit 1"


def test_this_machine_has_memory_and_disk():
    here = limits_here(config())
    assert here.memory_mib > 500
    assert here.disk_gib
