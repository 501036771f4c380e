import copy
import math

import pytest
import torch

from seft import AdamW
from seft.evolver import move_state

OPTIONS = {"lr": 0.1, "betas": (0.8, 0.9), "eps": 1e-6, "weight_decay": 0.2}


def descend(parameters, optimizer, gradients):
    for gradient in gradients:
        parameters.grad = gradient.clone()
        optimizer.step()


def test_without_regrowth_it_is_adamw():
    gradients = torch.randn(7, 5, generator=torch.Generator().manual_seed(0))
    ours, theirs = (torch.nn.Parameter(torch.linspace(-1, 1, 5)) for _ in range(2))
    descend(ours, AdamW([ours], **OPTIONS), gradients)
    descend(theirs, torch.optim.AdamW([theirs], **OPTIONS), gradients)
    torch.testing.assert_close(ours, theirs)


def test_a_regrown_entry_starts_like_a_new_parameter():
    gradients = torch.randn(9, 3, generator=torch.Generator().manual_seed(0))
    delta = torch.nn.Parameter(torch.zeros(3))
    optimizer = AdamW([delta], **OPTIONS)
    descend(delta, optimizer, gradients[:5])
    # The second slot is regrown, the others change places.
    origin = torch.tensor([2, -1, 0])
    with torch.no_grad():
        delta.copy_(torch.stack([delta[2], torch.zeros(()), delta[0]]))
    move_state(optimizer, delta, origin)
    descend(delta, optimizer, gradients[5:])

    for slot, then, start in [(0, 2, 0), (1, 1, 5), (2, 0, 0)]:
        alone = torch.nn.Parameter(torch.zeros(1))
        history = torch.cat([gradients[start:5, then], gradients[5:, slot]])
        descend(alone, torch.optim.AdamW([alone], **OPTIONS), history[:, None])
        torch.testing.assert_close(delta[slot], alone[0])


def test_a_ramp_lets_the_first_moment_in():
    gradients = torch.randn(6, 3, generator=torch.Generator().manual_seed(0))
    delta = torch.nn.Parameter(torch.zeros(3))
    descend(delta, AdamW([delta], lr=0.1, ramp=4), gradients)
    expected = []
    for slot in range(3):
        value = mean = square = 0.0
        for age, g in enumerate(gradients[:, slot].tolist(), start=1):
            mean = (0.9 * mean + 0.1 * g) * min(age / 4, 1)
            square = 0.999 * square + 0.001 * g * g
            scale = math.sqrt(square / (1 - 0.999**age)) + 1e-8
            value -= 0.1 * mean / (1 - 0.9**age) / scale
        expected.append(value)
    torch.testing.assert_close(delta, torch.tensor(expected))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_state_survives_its_state_dict(dtype):
    gradients = torch.randn(8, 3, generator=torch.Generator().manual_seed(0)).to(dtype)

    def half():
        delta = torch.nn.Parameter(torch.zeros(3, dtype=dtype))
        return delta, AdamW([delta], **OPTIONS)

    whole, optimizer = half()
    descend(whole, optimizer, gradients[:4])
    # Bfloat16 has no number between 300 and 302.
    optimizer.state[whole]["ages"] += 297
    move_state(optimizer, whole, torch.tensor([0, -1, 2]))
    taken_up, continued = half()
    taken_up.data.copy_(whole.data)
    continued.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    descend(whole, optimizer, gradients[4:])
    descend(taken_up, continued, gradients[4:])
    assert torch.equal(whole, taken_up)
    for name, values in optimizer.state[whole].items():
        torch.testing.assert_close(continued.state[taken_up][name], values, rtol=0, atol=0)
    assert sorted(optimizer.state[whole]["ages"].tolist()) == [4, 305]
