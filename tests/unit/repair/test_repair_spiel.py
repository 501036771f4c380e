"""SpIEL and the controls of SEFT against a transcription, one entry at a time in float64."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

import seft
from baselines.repair import build_repair
from seft.selection import random_scores

OUTPUTS, INPUTS, TOKENS, STEPS = 5, 6, 4, 12
# k = OUTPUTS + INPUTS entries; all are chosen anew after step 2, and some after steps 4 and 8.
LEARNING_RATE, EVERY, WINDOW, DROP = 0.05, 4, 2, 0.6
OPTIONS = {"learning_rate": LEARNING_RATE, "match_rank": 1}
EVOLVING = {"evolve_every": EVERY, "accumulate_steps": WINDOW, "drop_fraction": DROP}


class OneLayer(nn.Module):
    """A model whose only block is a linear layer, two fifths of its weights pruned."""

    def __init__(self):
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.layers = nn.ModuleList([nn.Linear(INPUTS, OUTPUTS, bias=False)])
        with torch.no_grad():
            weight = self.layers[0].weight
            weight.copy_(torch.randn(weight.shape, generator=generator))
            weight.view(-1)[torch.randperm(weight.numel(), generator=generator)[:12]] = 0

    def forward(self, x):
        return self.layers[0](x)


def batches() -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Inputs and wanted outputs of each step."""
    generator = torch.Generator().manual_seed(1)
    return [
        tuple(torch.randn(TOKENS, width, generator=generator) for width in (INPUTS, OUTPUTS))
        for _ in range(STEPS)
    ]


def train(name: str, **options) -> seft.SeftModel:
    repair = build_repair(name, **OPTIONS, **options)
    model = repair.wrap(OneLayer(), seed=0)
    optimizer, evolver = repair.optimizer(model), seft.Evolver(model, total_steps=STEPS)
    for step, (x, y) in enumerate(batches(), start=1):
        (model(x) - y).square().sum().backward()
        optimizer.step()
        evolver.step(optimizer, step)
        optimizer.zero_grad()
    return model


def transcribed(allowed, start, drop=DROP) -> tuple[np.ndarray, set, list[int]]:
    """The weights in the end, the active entries, and the number dropped at each evolution.

    Args:
        allowed: The entries that may grow.
        start: The first entries; all of them are replaced after the first window, if any are.
        drop: Fraction dropped in the beginning.
    """
    base = OneLayer().layers[0].weight.detach().double().numpy()
    k = OUTPUTS + INPUTS
    entries = {entry: {"delta": 0.0, "mean": 0.0, "square": 0.0, "age": 0} for entry in start}
    window, dropped = [], []
    for step, (x, y) in enumerate(batches(), start=1):
        x, y, weight = x.double().numpy(), y.double().numpy(), base.copy()
        for entry, state in entries.items():
            weight[entry] += state["delta"]
        gradient = 2 * (x @ weight.T - y).T @ x
        for entry, state in entries.items():
            g = gradient[entry]
            state["mean"] = 0.9 * state["mean"] + 0.1 * g
            state["square"] = 0.999 * state["square"] + 0.001 * g * g
            state["age"] += 1
            mean = state["mean"] / (1 - 0.9 ** state["age"])
            square = state["square"] / (1 - 0.999 ** state["age"])
            state["delta"] -= LEARNING_RATE * mean / (math.sqrt(square) + 1e-8)
        window = [*window, gradient][-WINDOW:]
        count = k if step == WINDOW else int(k * drop * (1 - step / STEPS))
        if not drop or not count or (step != WINDOW and step % EVERY):
            continue
        weakest = sorted(entries, key=lambda entry: abs(entries[entry]["delta"]))[:count]
        kept = entries.keys() - set(weakest)
        total = sum(window)
        best = sorted(set(allowed) - kept, key=lambda entry: -abs(total[entry]))[: k - len(kept)]
        dropped.append(len(set(weakest) - set(best)))
        seeded = {
            entry: {
                "delta": 0.0,
                "mean": total[entry] / WINDOW * (1 - 0.9**WINDOW),
                "square": sum(g[entry] ** 2 for g in window) / WINDOW * (1 - 0.999**WINDOW),
                "age": WINDOW,
            }
            for entry in best
        }
        # One that is dropped and grown at once is left as it is.
        entries = {entry: entries.get(entry, seeded.get(entry)) for entry in kept | set(best)}
    weight = base.copy()
    for entry, state in entries.items():
        weight[entry] += state["delta"]
    return weight, set(entries), dropped


def active(model: seft.SeftModel) -> set:
    (layer,) = model.seft_layers.values()
    return {divmod(int(position), INPUTS) for position in layer.indices}


def everywhere() -> list:
    return [(i, j) for i in range(OUTPUTS) for j in range(INPUTS)]


def mask() -> list:
    weight = OneLayer().layers[0].weight
    return [entry for entry in everywhere() if weight[entry] != 0]


@pytest.mark.parametrize(
    ("name", "allowed"), [("spiel", everywhere()), ("spiel-static-mask", mask())]
)
def test_spiel_is_its_definition(name, allowed):
    start = active(build_repair(name, **OPTIONS, **EVOLVING).wrap(OneLayer(), seed=0))
    assert len(start) == OUTPUTS + INPUTS
    assert start < set(mask())
    model = train(name, **EVOLVING)
    expected, entries, dropped = transcribed(allowed, start)
    assert model.evolution_log[0]["step"] == WINDOW
    assert active(model) == entries
    assert [entry["dropped"] for entry in model.evolution_log] == dropped
    assert any(dropped)
    merged = model.merge_and_unload().layers[0].weight
    np.testing.assert_allclose(merged.detach().numpy(), expected, rtol=1e-4, atol=1e-5)


def test_spiel_fills_zeros_and_the_static_mask_does_not():
    zeros = {}
    for name in ("spiel", "spiel-static-mask"):
        merged = train(name, **EVOLVING).merge_and_unload().layers[0].weight
        zeros[name] = {entry for entry in everywhere() if merged[entry] == 0}
    pruned = set(everywhere()) - set(mask())
    assert zeros["spiel-static-mask"] == pruned
    assert zeros["spiel"] < pruned


def test_static_trains_its_first_entries_and_no_others(monkeypatch):
    # Beyond four of the periods in which seft evolves unless told otherwise.
    monkeypatch.setitem(globals(), "STEPS", 250)
    start = active(build_repair("static", **OPTIONS).wrap(OneLayer(), seed=0))
    assert len(start) == OUTPUTS + INPUTS
    assert start < set(mask())
    assert start != active(build_repair("static", **OPTIONS).wrap(OneLayer(), seed=1))
    model = train("static")
    expected, entries, _ = transcribed(mask(), start=start, drop=0)
    assert active(model) == entries == start
    assert model.evolution_log == []
    merged = model.merge_and_unload().layers[0].weight
    np.testing.assert_allclose(merged.detach().numpy(), expected, rtol=1e-4, atol=1e-5)


def test_random_growth_is_all_that_tells_random_grow_from_seft():
    def config(name: str) -> seft.SeftConfig:
        return build_repair(name, **OPTIONS, **EVOLVING).wrap(OneLayer(), seed=3).seft_config

    assert config("random-grow") == replace(config("seft"), growth="random")


@pytest.mark.parametrize(("name", "at_random"), [("random-grow", True), ("seft", False)])
def test_random_growth_takes_the_highest_random_scores(name, at_random):
    options = {"init": "random", "mask": "fixed", "evolve_every": 6, "stop_fraction": 1.0}
    before = active(build_repair(name, **OPTIONS, **options).wrap(OneLayer(), seed=0))
    model = train(name, **options)
    after = active(model)
    assert [entry["step"] for entry in model.evolution_log] == [6]
    scores = random_scores(OneLayer().layers[0].weight, 0, "layers.0", 6).view(OUTPUTS, INPUTS)
    grown = [scores[entry] for entry in after - before]
    passed_over = [scores[entry] for entry in set(mask()) - after]
    assert grown
    assert (min(grown) > max(passed_over)) == at_random


@pytest.mark.parametrize("name", ["spiel", "spiel-static-mask", "static", "random-grow"])
def test_the_budget_is_that_of_lora(tiny, name):
    counts = {}
    for method, option in {"lora": "rank", name: "match_rank"}.items():
        repair = tiny.build(method, **{option: 2})
        counts[method] = repair.trainable_parameters(repair.wrap(tiny.pruned_llama(), seed=0))
    assert counts["lora"] == counts[name] > 0


@pytest.mark.parametrize(
    ("name", "option", "value"),
    [
        ("spiel", "mask", "evolve"),
        ("spiel", "init", "gradient"),
        ("spiel", "moments", "reset"),
        ("spiel", "schedule", "cosine"),
        ("spiel-static-mask", "mask", "free"),
        ("static", "drop_fraction", 0.2),
        ("static", "init", "gradient"),
        ("random-grow", "growth", "gradient"),
        ("random-grow", "mask", "free"),
    ],
)
def test_no_option_makes_a_method_another_one(name, option, value):
    with pytest.raises(ValueError, match=rf"^repair '{name}': {option} = {value!r}: "):
        build_repair(name, **{option: value})
