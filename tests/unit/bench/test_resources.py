"""What jobs ask a scheduler for."""

from types import SimpleNamespace

import pytest

from bench.resources import BASE_MIB, BASE_MINUTES, memory_mib, minutes

STAGES = ("prune", "repair", "evaluate")


def config(**training):
    return SimpleNamespace(
        training=SimpleNamespace(**{"blocks": 1000, "length": 1000, **training}),
    )


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
