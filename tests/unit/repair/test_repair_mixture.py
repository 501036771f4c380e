"""Mixtures of experts: all matrices of the experts train, routers and one-output gates do not."""

import pytest
import torch
from tiny import tiny_mixture

from baselines.pruning import prune, sparsity_report
from baselines.repair import REPAIRS

TRAININGS = [name for name, repair in REPAIRS.items() if repair.training == name]
PROJECTIONS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


def dense() -> torch.nn.Module:
    return tiny_mixture(vocab_size=48).eval()


def base() -> torch.nn.Module:
    model = dense()
    prune(model, "magnitude", sparsity=0.5)
    return model


@pytest.mark.parametrize("name", TRAININGS)
def test_experts_are_repaired_and_their_routers_are_not(tiny, tmp_path, name):
    repair, pruned = tiny.build(name), base()
    model = repair.wrap(base(), seed=0)
    tiny.train(repair, model, steps=6, dense=dense())
    repair.save(model, tmp_path / "saved")
    unmerged = tiny.logits(model)
    merged = repair.merge(model, reprune=lambda model: None)
    torch.testing.assert_close(tiny.logits(merged), unmerged, rtol=0, atol=1e-3)
    before, after = pruned.state_dict(), merged.state_dict()
    changed = {key for key in before if not torch.equal(before[key], after[key])}
    assert changed == {key for key in before if key.split(".")[-2] in PROJECTIONS}
    if repair.keeps_sparsity and name not in ("lora", "full-dense"):
        assert sparsity_report(merged).sparsity >= sparsity_report(pruned).sparsity
    loaded = tiny.build(name).load(base(), tmp_path / "saved")
    again = repair.merge(loaded, reprune=lambda model: None).state_dict()
    assert all(torch.equal(after[key], again[key]) for key in after)
