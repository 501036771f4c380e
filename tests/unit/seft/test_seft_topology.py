"""One evolution against a transcription of its definition in plain Python."""

from collections import Counter

import pytest
import torch

from seft.selection import highest
from seft.topology import Topology, evolve


class Oracle:
    """The definition on dicts and lists, with the base and the mask kept densely."""

    def __init__(self, base: list[float], k: int, group: int):
        self.base = base
        self.k = k
        self.group = group
        self.inside = [w != 0 for w in base]
        self.budgets = self.structural()
        self.start = list(base)  # what an entry without delta is worth: 0 once it was removed
        self.deltas = {}

    def structural(self):
        """Number of structural entries of each group that keeps its own."""
        size = self.group
        return [sum(self.inside[i : i + size]) for i in range(0, len(self.base), size)]

    def theta(self, position):
        if not self.inside[position]:
            return 0.0
        return self.start[position] + self.deltas.get(position, 0.0)

    def choose(self, gradient, wanted, candidates, patterned):
        chosen, fresh = [], [0] * len(self.budgets)
        for j in sorted(candidates, key=lambda j: (-abs(gradient[j]), j)):
            if len(chosen) == wanted:
                break
            if j not in self.deltas:
                if patterned and fresh[j // self.group] == self.budgets[j // self.group]:
                    continue
                fresh[j // self.group] += 1
            chosen.append(j)
        return chosen

    def evolve(self, gradient, n, mask, patterned=False, among=None):
        every = range(len(self.base)) if among is None else among
        weakest = sorted(self.deltas, key=lambda j: (abs(self.deltas[j]), j))[:n]
        strong = [j for j in self.deltas if j not in weakest]
        candidates = [j for j in every if j not in strong]
        if mask == "fixed":
            candidates = [j for j in candidates if self.inside[j]]
        chosen = self.choose(gradient, self.k - len(strong), candidates, patterned)
        for j in weakest:
            if j not in chosen:
                del self.deltas[j]
                self.inside[j] = self.start[j] != 0
        grown = [j for j in chosen if j not in self.deltas]
        for j in grown:
            self.deltas[j] = 0.0
            self.inside[j] = True
        if mask != "evolve":
            return {}
        happened = {"removed": 0, "returned": 0, "refilled": 0}
        excesses = [now - z for now, z in zip(self.structural(), self.budgets, strict=True)]
        for number, excess in enumerate(excesses):
            members = [j for j in every if j // self.group == number]
            removable = [j for j in members if self.inside[j] and j not in grown]
            removable.sort(key=lambda j: (abs(self.theta(j) * gradient[j]), j))
            for j in removable[: max(excess, 0)]:
                self.inside[j] = False
                self.start[j] = 0.0
                happened["removed"] += 1
                if j in self.deltas:
                    del self.deltas[j]
                    happened["refilled"] += 1
            lost = [j for j in members if self.base[j] != 0 and not self.inside[j]]
            lost.sort(key=lambda j: (-abs(self.base[j] * gradient[j]), j))
            for j in lost[: max(-excess, 0)]:
                self.inside[j] = True
                self.start[j] = self.base[j]
                happened["returned"] += 1
        idle = [j for j in every if self.inside[j] and j not in self.deltas]
        idle.sort(key=lambda j: (-abs(gradient[j]), j))
        for j in idle[: happened["refilled"]]:
            self.deltas[j] = 0.0
        return happened


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


def gradient_like(weight, generator, levels=512):
    return ((torch.randn(weight.shape, generator=generator) * levels).round() / levels).view(-1)


def follow_definition(weight, topology, delta, generator, levels, mask, group=None, share=None):
    """30 evolutions with random training between them; what happened how often.

    With a share, that of the entries are candidates, beside the active and the removed ones.
    """
    k = len(delta)
    oracle = Oracle(weight.view(-1).tolist(), k, group or weight.numel())
    budgets = list(oracle.budgets)
    seen = Counter()
    for step in range(30):
        gradient = gradient_like(weight, generator, levels)
        drop = 0 if step == 0 else 1 + step % 5
        positions = among = None
        if share is not None:
            chosen = torch.rand(weight.numel(), generator=generator) < share
            chosen[topology.indices] = chosen[topology.removed] = True
            positions = chosen.nonzero().view(-1).int()
            among = positions.tolist()
        seen.update(oracle.evolve(gradient.tolist(), drop, mask, group is not None, among))
        if share is not None:
            gradient = gradient[positions]
        evolution = evolve(
            weight, topology, delta, gradient, drop, mask, group, positions=positions
        )

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
            assert oracle.structural() == budgets

        # In the place of training.
        delta = delta + (torch.randn(k, generator=generator) * 4).round() / 8
        oracle.deltas = dict(zip(topology.indices.tolist(), delta.tolist(), strict=True))
        weight.view(-1)[topology.indices] = topology.base + delta
    return seen


@pytest.mark.parametrize("levels", [512, 2], ids=["distinct", "ties"])
@pytest.mark.parametrize("seed", range(4))
def test_evolution_follows_its_definition(levels, seed):
    seen = follow_definition(*start(seed, levels=levels), levels, "evolve")
    assert min(seen.values()) > 0, f"a case of the definition never came up: {seen}"


@pytest.mark.parametrize("mask", ["fixed", "free"])
@pytest.mark.parametrize("levels", [512, 2], ids=["distinct", "ties"])
def test_evolution_without_adaptation_follows_its_definition(levels, mask):
    follow_definition(*start(0, levels=levels), levels, mask)


@pytest.mark.parametrize("levels", [512, 2], ids=["distinct", "ties"])
@pytest.mark.parametrize(("n", "m"), [(2, 4), (1, 4), (4, 8)])
def test_evolution_inside_groups_follows_its_definition(n, m, levels):
    weight, topology, delta, generator = start(0, shape=(6, 16), k=20, sparsity=0, levels=levels)
    pruned = torch.rand(6, 16 // m, m, generator=generator).argsort(dim=2)[..., :n]
    weight.view(6, -1, m).scatter_(2, pruned, 0)
    seen = follow_definition(weight, topology, delta, generator, levels, "evolve", group=m)
    assert min(seen.values()) > 0, f"a case of the definition never came up: {seen}"


def test_dropped_and_chosen_again_is_left_untouched():
    weight, topology, delta, _ = start(0)
    gradient = torch.arange(1.0, weight.numel() + 1)
    evolution = evolve(weight, topology, delta, gradient, drop=0, mask="fixed")
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
        weight, topology, delta, gradient_like(weight, generator), drop=0, mask="free"
    )
    assert evolution.reactivated > 0
    assert torch.equal(weight, before)


@pytest.mark.parametrize("mask", ["evolve", "fixed", "free"])
@pytest.mark.parametrize("levels", [512, 2], ids=["distinct", "ties"])
def test_evolution_among_candidates_follows_its_definition(levels, mask):
    beginning = start(0, shape=(12, 12), levels=levels)
    seen = follow_definition(*beginning, levels, mask, share=0.7)
    assert mask != "evolve" or min(seen.values()) > 0, f"a case never came up: {seen}"


def test_random_preference_takes_the_place_of_the_gradient_in_growth():
    weight, topology, delta, generator = start(1)
    preference = torch.rand(weight.numel(), generator=generator)
    expected = sorted(range(weight.numel()), key=lambda j: -preference[j].item())[: len(delta)]
    gradient = torch.ones(weight.numel())
    evolution = evolve(
        weight, topology, delta, gradient, drop=0, mask="free", preference=preference
    )
    assert evolution.topology.indices.tolist() == sorted(expected)


@pytest.mark.parametrize("count", [0, 1, 3, 4, 7, 8])
def test_selection_takes_the_lower_position_among_equals(count):
    score = torch.tensor([2.0, 5.0, 2.0, 2.0, 7.0, 2.0, 1.0, 2.0])
    by_score = sorted(range(8), key=lambda j: (-score[j].item(), j))
    assert highest(score, count).tolist() == sorted(by_score[:count])


@pytest.mark.parametrize("levels", [3, 10_000])
@pytest.mark.parametrize("count", [1, 100, 2000, 20_000])
def test_selection_from_many_entries_is_that_of_a_stable_sort(count, levels):
    score = torch.randint(0, levels, (20_000,), generator=torch.Generator().manual_seed(0)).float()
    expected = score.sort(descending=True, stable=True).indices[:count].sort().values
    assert torch.equal(highest(score, count), expected)
