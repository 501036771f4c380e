"""One evolution against a transcription of its definition in plain Python."""

import pytest
import torch

from seft.topology import Topology, evolve, highest, lowest


class Oracle:
    """The definition on dicts and lists, with the base and the mask kept densely."""

    def __init__(self, base: list[float], k: int):
        self.base = base
        self.k = k
        self.inside = [w != 0 for w in base]
        self.budget = sum(self.inside)
        self.start = list(base)  # what an entry without delta is worth: 0 once it was removed
        self.deltas = {}

    def theta(self, position):
        if not self.inside[position]:
            return 0.0
        return self.start[position] + self.deltas.get(position, 0.0)

    def evolve(self, gradient, n, mask="evolve"):
        weakest = sorted(self.deltas, key=lambda j: (abs(self.deltas[j]), j))[:n]
        strong = [j for j in self.deltas if j not in weakest]
        candidates = [
            j
            for j in range(len(self.base))
            if j not in strong and (mask != "fixed" or self.inside[j])
        ]
        candidates.sort(key=lambda j: (-abs(gradient[j]), j))
        chosen = candidates[: self.k - len(strong)]
        for j in weakest:
            if j not in chosen:
                del self.deltas[j]
                self.inside[j] = self.start[j] != 0
        grown = [j for j in chosen if j not in self.deltas]
        for j in grown:
            self.deltas[j] = 0.0
            self.inside[j] = True
        refilled = []
        if mask == "evolve":
            excess = sum(self.inside) - self.budget
            removable = [j for j in range(len(self.base)) if self.inside[j] and j not in grown]
            removable.sort(key=lambda j: (abs(self.theta(j) * gradient[j]), j))
            for j in removable[: max(excess, 0)]:
                self.inside[j] = False
                self.start[j] = 0.0
                if j in self.deltas:
                    del self.deltas[j]
                    refilled.append(j)
            idle = [j for j, inside in enumerate(self.inside) if inside and j not in self.deltas]
            idle.sort(key=lambda j: (-abs(gradient[j]), j))
            for j in idle[: len(refilled)]:
                self.deltas[j] = 0.0
            lost = [j for j, w in enumerate(self.base) if w != 0 and not self.inside[j]]
            lost.sort(key=lambda j: (-abs(self.base[j] * gradient[j]), j))
            for j in lost[: max(-excess, 0)]:
                self.inside[j] = True
                self.start[j] = self.base[j]
        return excess if mask == "evolve" else 0, len(refilled)


def start(seed: int, shape=(7, 9), k=12, sparsity=0.5, levels=512):
    """A pruned weight and its topology without active entries.

    Values are multiples of 1 / `levels`: their sums and products are exact in float32, and few
    levels give many ties.
    """
    generator = torch.Generator().manual_seed(seed)
    weight = (torch.randn(shape, generator=generator) * levels).round() / levels
    weight[torch.rand(shape, generator=generator) < sparsity] = 0
    empty = torch.empty(0, dtype=torch.int32)
    topology = Topology(empty, torch.empty(0), empty, torch.empty(0))
    return weight, topology, torch.zeros(k), generator


@pytest.mark.parametrize("mask", ["evolve", "fixed", "free"])
@pytest.mark.parametrize("levels", [512, 2], ids=["distinct", "ties"])
@pytest.mark.parametrize("seed", range(4))
def test_evolution_follows_its_definition(mask, levels, seed):
    weight, topology, delta, generator = start(seed, levels=levels)
    base, k = weight.clone(), len(delta)
    oracle = Oracle(base.view(-1).tolist(), k)
    seen = {"more": 0, "fewer": 0, "refilled": 0}
    for step in range(30):
        gradient = (torch.randn(weight.shape, generator=generator) * levels).round() / levels
        drop = 0 if step == 0 else 1 + step % 5
        evolution = evolve(weight, topology, delta, gradient.view(-1), drop, mask)
        excess, refilled = oracle.evolve(gradient.view(-1).tolist(), drop, mask)
        seen["more"] += excess > 0
        seen["fewer"] += excess < 0
        seen["refilled"] += refilled

        delta = torch.where(evolution.origin < 0, 0, delta[evolution.origin.clamp(min=0)])
        topology = evolution.topology
        assert topology.indices.tolist() == sorted(oracle.deltas)
        assert delta.tolist() == [oracle.deltas[j] for j in sorted(oracle.deltas)]
        assert weight.view(-1).tolist() == [oracle.theta(j) for j in range(weight.numel())]
        inside = weight.view(-1) != 0
        inside[topology.indices] = True
        assert inside.tolist() == oracle.inside
        assert len(topology.indices) == k
        if mask != "free":
            assert int(inside.sum()) == oracle.budget

        # In the place of training.
        delta = delta + (torch.randn(k, generator=generator) * 4).round() / 8
        for j, value in zip(topology.indices.tolist(), delta.tolist(), strict=True):
            oracle.deltas[j] = value
        weight.view(-1)[topology.indices] = topology.base + delta
    if mask == "evolve":
        assert min(seen.values()) > 0, f"a case of the definition never came up: {seen}"


def test_dropped_and_chosen_again_is_left_untouched():
    weight, topology, delta, _ = start(0)
    gradient = torch.arange(1.0, weight.numel() + 1).view_as(weight)
    evolution = evolve(weight, topology, delta, gradient.view(-1), drop=0, mask="fixed")
    delta = torch.linspace(1, 2, len(delta))
    weight.view(-1)[evolution.topology.indices] = evolution.topology.base + delta
    before = weight.clone()
    again = evolve(weight, evolution.topology, delta, gradient, drop=5, mask="fixed")
    assert again.origin.tolist() == list(range(len(delta)))
    assert (again.dropped, again.grown) == (0, 0)
    assert torch.equal(weight, before)


def test_growth_alone_preserves_the_weights():
    weight, topology, delta, generator = start(0)
    before = weight.clone()
    evolution = evolve(
        weight, topology, delta, torch.randn(weight.shape, generator=generator), 0, "free"
    )
    assert evolution.reactivated > 0
    assert torch.equal(weight, before)


def test_dropping_everything_brings_the_base_back_but_for_what_adaptation_removed():
    weight, topology, delta, generator = start(3)
    base = weight.clone()
    evolution = evolve(weight, topology, delta, torch.randn(weight.shape, generator=generator), 0)
    delta = torch.ones_like(delta)
    weight.view(-1)[evolution.topology.indices] = evolution.topology.base + delta
    gradient = torch.zeros_like(weight).view(-1)
    idle = base.view(-1) != 0
    idle[evolution.topology.indices] = False
    idle[evolution.topology.removed] = False
    gradient[idle] = torch.arange(1.0, int(idle.sum()) + 1)
    evolution = evolve(weight, evolution.topology, delta, gradient.view_as(weight), len(delta))
    assert evolution.restored > 0
    assert torch.equal(weight, base)


def test_random_preference_takes_the_place_of_the_gradient_in_growth():
    weight, topology, delta, generator = start(1)
    preference = torch.rand(weight.numel(), generator=generator)
    evolution = evolve(
        weight, topology, delta, torch.ones_like(weight), 0, "free", preference=preference
    )
    expected = sorted(range(weight.numel()), key=lambda j: -preference[j].item())[: len(delta)]
    assert evolution.topology.indices.tolist() == sorted(expected)


@pytest.mark.parametrize("count", [0, 1, 3, 4, 7, 8])
def test_selection_takes_the_lower_position_among_equals(count):
    score = torch.tensor([2.0, 5.0, 2.0, 2.0, 7.0, 2.0, 1.0, 2.0])
    by_score = sorted(range(8), key=lambda j: (-score[j].item(), j))
    assert highest(score, count).tolist() == sorted(by_score[:count])
    by_score = sorted(range(8), key=lambda j: (score[j].item(), j))
    assert lowest(score, count).tolist() == sorted(by_score[:count])
