"""What jobs ask a scheduler for."""

from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import save_file

from bench.resources import BASE_MIB, BASE_MINUTES, memory_mib, minutes, parameters

STAGES = ("prune", "repair", "evaluate")


def config(configured=None, **training):
    return SimpleNamespace(
        models={"tiny": SimpleNamespace(parameters=configured)},
        training=SimpleNamespace(**{"blocks": 1000, "length": 1000, **training}),
    )


def test_parameters_are_counted_over_all_files_of_a_fetched_model(tmp_path):
    folder = tmp_path / "tiny"
    folder.mkdir()
    save_file({"a": torch.zeros(3, 5), "b": torch.zeros(7)}, folder / "model-1.safetensors")
    save_file({"c": torch.zeros(2, 2)}, folder / "model-2.safetensors", metadata={"format": "pt"})
    assert parameters(config(), "tiny", models=tmp_path) == 15 + 7 + 4
    assert parameters(config(9), "tiny", models=tmp_path) == 9


def test_a_model_that_is_not_there_is_counted_once_it_is(tmp_path):
    assert parameters(config(), "tiny", models=tmp_path) == 0
    (tmp_path / "tiny").mkdir()
    save_file({"a": torch.zeros(4)}, tmp_path / "tiny/model.safetensors")
    assert parameters(config(), "tiny", models=tmp_path) == 4


@pytest.mark.parametrize("device", ["cpu", "cuda"])
@pytest.mark.parametrize("stage", STAGES)
def test_memory_and_time_grow_with_the_model(stage, device):
    assert memory_mib(stage, 0, device) == BASE_MIB
    assert minutes(stage, config(), 0, device) == BASE_MINUTES
    assert memory_mib(stage, 7 * 10**9, device) > BASE_MIB + 2 * 7 * 10**9 / 2**20
    assert minutes(stage, config(), 7 * 10**9, device) > BASE_MINUTES


def test_a_repair_takes_time_for_its_tokens():
    short, long = config(blocks=1000), config(blocks=2000)
    once = minutes("repair", short, 10**9, "cuda") - BASE_MINUTES
    twice = minutes("repair", long, 10**9, "cuda") - BASE_MINUTES
    assert twice == pytest.approx(2 * once, abs=1)
