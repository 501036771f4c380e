"""Pruning on a device that holds one block of a model at a time."""

import copy

import pytest
import torch
from second_device import Residents, SecondDevice

from baselines.pruning import PRUNERS, prune
from seft.blocks import decoder_blocks


def check(model, pruner, calibration, **options):
    """The same as where the model is; one block at a time; everything back in its place."""
    expected = copy.deepcopy(model)
    report = prune(expected, pruner, calibration=calibration, **options)
    places = [tensor.data_ptr() for tensor in (*model.parameters(), *model.buffers())]
    blocks = list(decoder_blocks(model).values())
    with Residents(blocks) as device:
        streamed = prune(
            model, pruner, calibration=calibration, device=SecondDevice.DEVICE, **options
        )
        assert device.most == 1
        assert not any(map(device.holds, (*model.parameters(), *model.buffers())))
    assert [tensor.data_ptr() for tensor in (*model.parameters(), *model.buffers())] == places
    assert streamed == report
    state = model.state_dict()
    assert all(torch.equal(values, state[name]) for name, values in expected.state_dict().items())


@pytest.mark.parametrize("pruner", PRUNERS)
@pytest.mark.parametrize("target", [{"pattern": "2of4"}, {"sparsity": 0.5, "allocation": "owl"}])
def test_every_pruner(pruner, target, make_model, calibration):
    check(make_model(dtype=torch.bfloat16, tied=True), pruner, calibration, **target)


def test_every_architecture(architecture, make_model, calibration):
    check(make_model(architecture), "wanda", calibration, sparsity=0.5)


def test_a_failure_leaves_the_model_where_it_was(make_model, calibration):
    model = make_model()
    model.model.layers[1].mlp.up_proj.weight.data[0, 0] = torch.inf
    with Residents([]) as device:
        with pytest.raises(ValueError, match=r"layers\.1 gives infinite"):
            prune(model, "wanda", sparsity=0.5, calibration=calibration, device=SecondDevice.DEVICE)
        assert not any(map(device.holds, model.parameters()))


def test_the_second_device_does_not_mix():
    with SecondDevice():
        there = torch.zeros(2, device=SecondDevice.DEVICE)
        assert there.device == SecondDevice.DEVICE
        assert (there + 1).device == SecondDevice.DEVICE
        assert (there + 1).to(torch.device("cpu")).device.type == "cpu"
        with pytest.raises(RuntimeError, match="tensors on two devices"):
            there + torch.zeros(2)
