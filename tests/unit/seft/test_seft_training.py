"""Training with a hand-written loop: gradients, windows, schedules, and the invariants."""

from types import SimpleNamespace

import pytest
import torch
from seft_loop import adamw, make_llama, train
from tiny import tiny_llama, tiny_mixture
from torch.nn import functional

import seft
from baselines.pruning import prune
from seft.evolver import now
from seft.layer import SeftLinear
from seft.selection import random_scores
from seft.window import Window


def start(total_steps=20, dtype=torch.float32, **options):
    """A SEFT model of the tiny LLaMA before its first step, with optimizer and evolver."""
    defaults = {"density": 0.1, "init": "gradient", "evolve_every": 4}
    defaults |= {"accumulate_steps": 2, "stagger": False}
    model = seft.get_seft_model(make_llama(dtype), seft.SeftConfig(**defaults | options))
    return model, adamw(model), seft.Evolver(model, total_steps)


def base_weights(**options):
    return {name: p.detach().clone() for name, p in make_llama(**options).named_parameters()}


def mask_of(layer: SeftLinear) -> torch.Tensor:
    inside = layer.weight.view(-1) != 0
    inside[layer.indices] = True
    return inside


def ages_of(optimizer, layer) -> torch.Tensor:
    """The age of each entry, (k,)."""
    state = optimizer.state[layer.delta]
    assert state["generation"].dtype == torch.uint8
    return state["ages"][state["generation"].long()].expand(len(layer.delta))


def dense_gradients(model, tokens) -> dict[str, torch.Tensor]:
    """Gradients by plain autograd at the model's effective weights."""
    plain = make_llama()
    plain.load_state_dict({n: p for n, p in model.named_parameters() if "delta" not in n})
    plain(input_ids=tokens, labels=tokens).loss.backward()
    return {name: plain.get_parameter(f"{name}.weight").grad for name in model.seft_layers}


@pytest.mark.parametrize("checkpointing", [None, {"use_reentrant": True}, {"use_reentrant": False}])
@pytest.mark.parametrize("micro_batches", [1, 4])
def test_gradients_are_those_of_autograd(tokens, checkpointing, micro_batches):
    model, optimizer, evolver = start(accumulate_steps=1, candidates=None)
    train(model, tokens, optimizer, evolver, range(1, 4))
    if checkpointing:
        model.activation_checkpointing_enable(checkpointing)
    for part in tokens.chunk(micro_batches):
        (model(input_ids=part, labels=part).loss / micro_batches).backward()
    for name, dense in dense_gradients(model, tokens).items():
        layer = model.seft_layers[name]
        torch.testing.assert_close(layer.delta.grad, dense.view(-1)[layer.indices])
        torch.testing.assert_close(layer.window.total, dense.view(-1))
    trainable = {name for name, p in model.named_parameters() if p.grad is not None}
    assert trainable == {f"{name}.delta" for name in model.seft_layers}


@pytest.mark.parametrize("density", [0.05, 0.2])
def test_gradients_are_those_of_autograd_without_a_window(tokens, density):
    model, optimizer, evolver = start(accumulate_steps=1, density=density)
    train(model, tokens, optimizer, evolver, range(1, 3))
    model(input_ids=tokens, labels=tokens).loss.backward()
    for name, dense in dense_gradients(model, tokens).items():
        layer = model.seft_layers[name]
        assert layer.window is None
        torch.testing.assert_close(layer.delta.grad, dense.view(-1)[layer.indices])


def test_input_gradient_is_that_of_the_plain_layer():
    torch.manual_seed(0)
    plain = torch.nn.Linear(6, 4)
    layer = SeftLinear(plain, 3)
    layer.has_evolver = True
    x, y = (torch.ones(2, 5, 6, requires_grad=True) for _ in range(2))
    layer(x).square().sum().backward()
    plain(y).square().sum().backward()
    assert torch.equal(x.grad, y.grad)


@pytest.mark.parametrize(
    ("options", "inside"), [({"mask": "free"}, False), ({"init": "inside"}, True)]
)
def test_the_window_chooses_the_largest_mean_gradients(tokens, options, inside):
    model, optimizer, evolver = start(accumulate_steps=3, candidates=None, **options)
    masks = {name: mask_of(layer) for name, layer in model.seft_layers.items()}
    mean = {name: torch.zeros_like(layer.weight) for name, layer in model.seft_layers.items()}
    for step in range(1, 4):
        rows = torch.randperm(len(tokens), generator=torch.Generator().manual_seed(step))[:4]
        for name, gradient in dense_gradients(model, tokens[rows]).items():
            mean[name] += gradient / 3
        train(model, tokens, optimizer, evolver, [step])
    for name, layer in model.seft_layers.items():
        score = mean[name].view(-1).abs()
        if inside:
            score[~masks[name]] = -1
        expected = score.topk(len(layer.delta)).indices.sort().values
        assert layer.indices.tolist() == expected.tolist()


@pytest.mark.parametrize(("pattern", "candidates"), [(None, None), (None, 3), ((2, 4), 3)])
def test_a_start_inside_the_mask_leaves_it_to_later_evolutions(tokens, pattern, candidates):
    options = {"density": 0.05, "evolve_every": 4, "accumulate_steps": 2, "stagger": False}
    config = seft.SeftConfig(init="inside", pattern=pattern, candidates=candidates, **options)
    model = seft.get_seft_model(make_llama(pattern=pattern), config)
    optimizer, evolver = adamw(model), seft.Evolver(model, total_steps=40)
    train(model, tokens, optimizer, evolver, range(1, 4))
    assert all(len(layer.indices) == len(layer.delta) for layer in model.seft_layers.values())
    assert all(layer.overlap == 1 for layer in model.seft_layers.values())
    train(model, tokens, optimizer, evolver, range(4, 21))
    assert any(layer.overlap < 1 for layer in model.seft_layers.values())
    assert all(layer.structural_entries == layer.budget for layer in model.seft_layers.values())


def test_nothing_changes_before_the_first_selection(tokens):
    model, optimizer, evolver = start(accumulate_steps=4)
    train(model, tokens, optimizer, evolver, range(1, 4))
    assert not any(len(layer.indices) for layer in model.seft_layers.values())
    for name, base in base_weights().items():
        assert torch.equal(model.get_parameter(name), base)
    train(model, tokens, optimizer, evolver, [4])
    assert all(len(layer.indices) == len(layer.delta) for layer in model.seft_layers.values())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_invariants_hold_after_every_step_and_the_merge(tokens, dtype):
    model, optimizer, evolver = start(dtype=dtype, density=0.15)
    base = base_weights(dtype=dtype)
    start_masks = {name: base[f"{name}.weight"].view(-1) != 0 for name in model.seft_layers}
    for step in range(1, 21):
        train(model, tokens, optimizer, evolver, [step])
        for name, layer in model.seft_layers.items():
            mask = mask_of(layer)
            z = int(start_masks[name].sum())
            assert int(mask.sum()) == layer.structural_entries == z
            assert layer.sparsity == 1 - z / mask.numel()
            assert layer.overlap == pytest.approx(int((mask & start_masks[name]).sum()) / z)
            assert layer.delta.dtype == torch.float32
            if step >= 2:
                assert len(layer.indices.unique()) == len(layer.delta) == int(0.15 * mask.numel())
                live = layer.weight.view(-1)
                effective = layer.base.float() + layer.delta.detach()
                assert torch.equal(live[layer.indices], effective.to(dtype))
    log = model.evolution_log
    assert all(sum(entry[key] for entry in log) for key in ("dropped", "removed", "restored"))
    assert any(layer.overlap < 1 for layer in model.seft_layers.values())
    masks = {name: mask_of(layer) for name, layer in model.seft_layers.items()}
    merged = model.merge_and_unload()
    for name, parameter in merged.named_parameters():
        layer = name.removesuffix(".weight")
        if layer in masks:
            assert not parameter.view(-1)[~masks[layer]].any()
        else:
            assert torch.equal(parameter, base[name])


def test_evolution_schedule(trained):
    model, _, _ = trained(steps=20, accumulate_steps=3, drop_fraction=1.0, stop_fraction=0.8)
    steps = [entry["step"] for entry in model.evolution_log]
    names = list(model.seft_layers)
    # The first selection at A, then every R steps until p = 0 at 16 of 20 steps.
    assert steps == [step for step in (3, 4, 8, 12) for _ in names]
    assert [entry["layer"] for entry in model.evolution_log] == names * 4
    for entry in model.evolution_log[len(names) :]:
        k = len(model.seft_layers[entry["layer"]].delta)
        assert entry["rate"] == model.seft_config.drop_rate(entry["step"], 20)
        assert entry["dropped"] <= int(k * entry["rate"])
    assert model.seconds_evolving > 0


def test_an_evolution_is_not_charged_with_what_the_device_has_yet_to_do(tokens, monkeypatch):
    """A GPU's queue, stood in for: the first to ask for a result waits for all that is in it."""
    clock, queue, means = [0.0], [], Window.means

    def wait(*_):
        clock[0] += sum(queue)
        queue.clear()

    monkeypatch.setattr("seft.evolver.time", SimpleNamespace(perf_counter=lambda: clock[0]))
    monkeypatch.setattr("seft.evolver.now", lambda device: now(torch.device("cuda")))
    monkeypatch.setattr(torch.cuda, "synchronize", wait)
    monkeypatch.setattr(Window, "means", lambda *given: (wait(), means(*given))[1])
    model, optimizer, evolver = start()
    optimizer.register_step_post_hook(lambda *_: queue.append(1.0))
    train(model, tokens, optimizer, evolver, range(1, 9))
    assert len(model.evolution_log) == 3 * len(model.seft_layers)
    assert clock[0] > 0
    assert model.seconds_evolving == 0


def test_static_indices_are_the_training_of_a_fixed_index_set(tokens):
    model, optimizer, evolver = start(init="random", drop_fraction=0)
    indices = {name: layer.indices.clone() for name, layer in model.seft_layers.items()}
    plain = make_llama().requires_grad_(False)
    for name, positions in indices.items():
        weight = plain.get_parameter(f"{name}.weight").requires_grad_(True)
        assert (weight.view(-1)[positions] != 0).all()
        keep = torch.zeros(weight.numel()).index_fill(0, positions.long(), 1).view_as(weight)
        weight.register_hook(lambda gradient, keep=keep: gradient * keep)
    reference = torch.optim.AdamW(
        [p for p in plain.parameters() if p.requires_grad], lr=0.01, weight_decay=0
    )
    for step in range(1, 13):
        train(model, tokens, optimizer, evolver, [step])
        rows = torch.randperm(len(tokens), generator=torch.Generator().manual_seed(step))[:4]
        plain(input_ids=tokens[rows], labels=tokens[rows]).loss.backward()
        reference.step()
        reference.zero_grad()
    assert model.evolution_log == []
    for name, parameter in plain.named_parameters():
        torch.testing.assert_close(model.get_parameter(name), parameter, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ("options", "sparser_by"),
    [({"mask": "fixed"}, 0), ({"mask": "free", "schedule": "linear", "stop_fraction": 1.0}, -1)],
)
def test_controls_and_the_parent_method(trained, options, sparser_by):
    model, _, _ = trained(**options)
    base = base_weights()
    for name, layer in model.seft_layers.items():
        before = base[f"{name}.weight"].view(-1) != 0
        if sparser_by == 0:
            assert torch.equal(mask_of(layer), before)
        else:
            assert (mask_of(layer) | ~before).all()
            assert int(mask_of(layer).sum()) == layer.structural_entries > int(before.sum())


def test_random_growth_depends_on_the_seed_alone(trained):
    options = {"growth": "random", "drop_fraction": 0.5}
    runs = [trained(seed=seed, **options)[0].state_dict() for seed in (0, 0, 1)]
    assert all(torch.equal(runs[0][name], runs[1][name]) for name in runs[0])
    assert any(not torch.equal(runs[0][n], runs[2][n]) for n in runs[0] if "indices" in n)


def test_random_growth_takes_the_highest_random_scores(tokens):
    model, optimizer, evolver = start(
        total_steps=10_000, growth="random", drop_fraction=1.0, mask="free"
    )
    train(model, tokens, optimizer, evolver, range(1, 4))
    before = {name: layer.indices.tolist() for name, layer in model.seft_layers.items()}
    train(model, tokens, optimizer, evolver, [4])
    for name, layer in model.seft_layers.items():
        # The rate is a little below 1: one entry of each layer stays.
        k = len(layer.delta)
        scores = random_scores(layer.weight, seed=0, layer=name, step=4)
        best = set(scores.topk(k).indices.tolist())
        stays = set(layer.indices.tolist()) - best
        assert len(stays) <= 1
        assert stays <= set(before[name])


def test_two_runs_are_bit_identical(trained):
    first, second = (trained(dtype=torch.bfloat16)[0].state_dict() for _ in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_gradient_accumulation_equals_the_big_batch(trained):
    # Candidates are those of the first micro-batch.
    whole, parts = (trained(steps=8, micro_batches=n, candidates=None)[0] for n in (1, 4))
    for name, layer in whole.seft_layers.items():
        assert torch.equal(layer.indices, parts.seft_layers[name].indices)
        torch.testing.assert_close(layer.weight, parts.seft_layers[name].weight)


def test_patterns_survive_evolution(trained):
    model, _, _ = trained(steps=20, base_pattern=(2, 4), pattern=(2, 4))
    assert sum(entry["reactivated"] for entry in model.evolution_log) > 0
    for layer in model.seft_layers.values():
        assert (mask_of(layer).view(-1, 4).sum(dim=1) == 2).all()


def test_staggered_layers_evolve_in_turn(tokens):
    model, optimizer, evolver = start(
        total_steps=100, evolve_every=14, accumulate_steps=1, stagger=True
    )
    for step in range(1, 43):
        gathering = sum(layer.window is not None for layer in model.seft_layers.values())
        assert gathering <= (2 if step > 1 else 14)
        train(model, tokens, optimizer, evolver, [step])
    for offset, name in enumerate(model.seft_layers):
        steps = [entry["step"] for entry in model.evolution_log if entry["layer"] == name]
        assert steps == [s for s in (1, 14 + offset, 28 + offset, 42 + offset) if s <= 42]


@pytest.mark.parametrize("init", ["gradient", "random"])
def test_layers_in_turn_start_as_layers_at_once_do(tokens, init):
    """With the same positions after the first selection; only later evolutions differ."""
    runs = []
    for stagger in (False, True):
        model, optimizer, evolver = start(100, init=init, evolve_every=14, stagger=stagger)
        train(model, tokens, optimizer, evolver, range(1, 14))
        runs.append(model.state_dict())
    started = [name for name in runs[0] if "window" not in name]
    assert all(torch.equal(runs[0][name], runs[1][name]) for name in started)


def test_candidates_bound_the_window(tokens):
    model, optimizer, evolver = start(density=0.02)
    model(input_ids=tokens, labels=tokens).loss.backward()
    for layer in model.seft_layers.values():
        window = layer.window
        assert len(window.total) <= 6 * len(layer.delta) < layer.weight.numel()
        held = window.total.nbytes + window.steps.nbytes
        assert held <= model.seft_config.window_bytes(*layer.weight.shape)
    optimizer.zero_grad()
    train(model, tokens, optimizer, evolver, range(1, 13))
    for layer in model.seft_layers.values():
        assert int(mask_of(layer).sum()) == layer.budget


@pytest.mark.parametrize("options", [{}, {"moments": "seeded"}])
def test_a_micro_batch_of_which_no_token_counts_chooses_no_candidates(tokens, options):
    """It counts all the same: that its order in the step is no matter is the right value."""
    masked = torch.full_like(tokens, -100)
    states = []
    for silent_first in (True, False):
        model, optimizer, evolver = start(accumulate_steps=1, density=0.02, **options)
        for step in range(1, 5):
            labels = (masked, tokens) if silent_first else (tokens, masked)
            for part in labels:
                logits = model(input_ids=tokens).logits[:, :-1].flatten(0, 1)
                wanted = part[:, 1:].flatten()
                functional.cross_entropy(logits, wanted, reduction="sum").backward()
            optimizer.step()
            evolver.step(optimizer, step)
            optimizer.zero_grad()
        states.append(model.state_dict())
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_an_expert_that_no_token_reaches_chooses_no_candidates():
    model = tiny_mixture(experts=4)
    few = torch.tensor([[3]])
    many = torch.randint(0, 32, (8, 12), generator=torch.Generator().manual_seed(1))
    prune(model, "magnitude", sparsity=0.5)
    model = seft.get_seft_model(
        model,
        seft.SeftConfig(
            density=0.02, init="gradient", evolve_every=4, accumulate_steps=1, mask="free"
        ),
    )
    optimizer, evolver = adamw(model.train()), seft.Evolver(model, total_steps=20)
    experts = {name: layer for name, layer in model.seft_layers.items() if ".experts." in name}
    model(input_ids=few).logits.square().sum().backward()
    idle = {name: layer for name, layer in experts.items() if layer.window.positions is None}
    # One token goes to two of the four experts of each block.
    assert len(experts) == 2 * len(idle) == 24
    model(input_ids=many).logits.square().sum().backward()
    plain = tiny_mixture(experts=4)
    prune(plain, "magnitude", sparsity=0.5)
    plain(input_ids=many).logits.square().sum().backward()
    evolver.step(optimizer, 1)
    for name, layer in idle.items():
        largest = plain.get_parameter(f"{name}.weight").grad.view(-1).abs()
        expected = largest.topk(len(layer.delta)).indices.sort().values
        assert layer.indices.tolist() == expected.tolist()


def test_enough_candidates_change_nothing(trained):
    whole, limited = (trained(candidates=count)[0].state_dict() for count in (None, 1000))
    assert all(torch.equal(whole[name], limited[name]) for name in whole)


def plain_adam(delta, mean, square, age, gradients, lr=0.01, ramp=None):
    """Adam from its definition, taken up at some age where its corrected moments are known.

    With a ramp, the first moment is multiplied by min(age / ramp, 1) whenever it is updated.
    """
    first, second = mean * (1 - 0.9**age), square * (1 - 0.999**age)
    for step, gradient in enumerate(gradients, start=1):
        first = 0.9 * first + 0.1 * gradient
        first = first * min((age + step) / ramp, 1) if ramp else first
        second = 0.999 * second + 0.001 * gradient**2
        rate = lr / (1 - 0.9 ** (age + step))
        delta = delta - rate * first / ((second / (1 - 0.999 ** (age + step))).sqrt() + 1e-8)
    return delta


@pytest.mark.parametrize(
    ("micro_batches", "given", "age"), [(1, None, 2), (4, None, 2), (4, 4, 2), (2, 8, 0.5)]
)
@pytest.mark.parametrize("candidates", [None, 1000])
def test_seeded_entries_go_on_as_adam_of_the_windows_means_and_age(
    tokens, micro_batches, given, age, candidates
):
    model, optimizer, evolver = start(
        moments="seeded", evolve_every=10, mask="free", candidates=candidates
    )
    evolver.micro_batches = given
    history = {name: [] for name in model.seft_layers}
    for step in range(1, 7):
        rows = torch.randperm(len(tokens), generator=torch.Generator().manual_seed(step))[:4]
        for part in tokens[rows].chunk(micro_batches):
            for name, gradient in dense_gradients(model, part).items():
                history[name].append(gradient.view(-1).double() / micro_batches)
        train(model, tokens, optimizer, evolver, [step], micro_batches)
    for name, layer in model.seft_layers.items():
        gradients = torch.stack(history[name])[:, layer.indices]
        window, later = gradients.split([2 * micro_batches, 4 * micro_batches])
        later = later.unflatten(0, (4, micro_batches)).sum(dim=1)
        start_at = torch.zeros(len(layer.delta), dtype=torch.float64)
        expected = plain_adam(start_at, window.mean(dim=0), (window**2).mean(dim=0), age, later)
        torch.testing.assert_close(layer.delta.double(), expected, rtol=1e-3, atol=1e-6)
        assert (ages_of(optimizer, layer) == age + 4).all()


def test_a_window_cut_short_by_the_first_selection_is_a_mean_over_its_own_steps(tokens):
    model, optimizer, evolver = start(
        moments="seeded", evolve_every=3, accumulate_steps=2, mask="free", drop_fraction=0.5
    )
    train(model, tokens, optimizer, evolver, [1, 2])
    rows = torch.randperm(len(tokens), generator=torch.Generator().manual_seed(3))[:4]
    gradients = dense_gradients(model, tokens[rows])
    before = {name: layer.indices.clone() for name, layer in model.seft_layers.items()}
    train(model, tokens, optimizer, evolver, [3])
    for name, layer in model.seft_layers.items():
        grown = ~torch.isin(layer.indices, before[name])
        assert grown.any()
        one = gradients[name].view(-1)[layer.indices[grown]]
        state = optimizer.state[layer.delta]
        assert (ages_of(optimizer, layer)[grown] == 1).all()
        torch.testing.assert_close(state["exp_avg"][grown], 0.1 * one)
        torch.testing.assert_close(state["exp_avg_sq"][grown], 0.001 * one**2)


def test_seeds_of_an_optimizer_with_one_count_are_as_old_as_all_its_entries(tokens):
    model, _, evolver = start(moments="seeded", accumulate_steps=1, drop_fraction=0.5, mask="free")
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=0.01)
    train(model, tokens, optimizer, evolver, range(1, 4))
    rows = torch.randperm(len(tokens), generator=torch.Generator().manual_seed(4))[:4]
    gradients = dense_gradients(model, tokens[rows])
    before = {name: layer.indices.clone() for name, layer in model.seft_layers.items()}
    train(model, tokens, optimizer, evolver, [4])
    for name, layer in model.seft_layers.items():
        grown = ~torch.isin(layer.indices, before[name])
        assert grown.any()
        mean = optimizer.state[layer.delta]["exp_avg"][grown] / (1 - 0.9**4)
        torch.testing.assert_close(mean, gradients[name].view(-1)[layer.indices[grown]])


@pytest.mark.parametrize(("moments", "ramp"), [("ramp", 0), ("reset", 100)])
def test_a_ramp_has_to_be_that_of_the_configuration(tokens, moments, ramp):
    model, _, evolver = start(moments=moments)
    optimizer = seft.AdamW([p for p in model.parameters() if p.requires_grad], ramp=ramp)
    with pytest.raises(ValueError, match=rf"moments='{moments}' needs an .* ramp={100 - ramp},"):
        train(model, tokens, optimizer, evolver, [1])


def test_ramped_entries_start_with_nothing_and_let_their_moments_in(tokens):
    model, optimizer, evolver = start(moments="ramp", evolve_every=10, mask="free")
    history = {name: [] for name in model.seft_layers}
    for step in range(1, 7):
        rows = torch.randperm(len(tokens), generator=torch.Generator().manual_seed(step))[:4]
        for name, gradient in dense_gradients(model, tokens[rows]).items():
            history[name].append(gradient.view(-1).double())
        train(model, tokens, optimizer, evolver, [step])
    for name, layer in model.seft_layers.items():
        gradients = torch.stack(history[name])[2:, layer.indices]
        nothing = torch.zeros(len(layer.delta), dtype=torch.float64)
        expected = plain_adam(nothing, nothing, nothing, 0, gradients, ramp=100)
        torch.testing.assert_close(layer.delta.double(), expected, rtol=1e-3, atol=1e-8)


def test_seeded_moments_need_an_optimizer_that_has_them(tokens):
    model, _, evolver = start(moments="seeded")
    sgd = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    with pytest.raises(ValueError, match="exp_avg and exp_avg_sq, not SGD"):
        train(model, tokens, sgd, evolver, range(1, 3))


def test_moments_that_are_codes_are_refused(tokens):
    model, optimizer, evolver = start()
    train(model, tokens, optimizer, evolver, range(1, 4))
    for layer in model.seft_layers.values():
        # As bitsandbytes has it, with a scale for each 2048 of them.
        codes = torch.full_like(layer.delta, 127, dtype=torch.uint8)
        optimizer.state[layer.delta] = {"state1": codes}
    with pytest.raises(ValueError, match=r"AdamW keeps state1 as torch\.uint8 codes"):
        evolver.step(optimizer, 4)


def test_grown_entries_start_with_no_moments(trained):
    model, optimizer, _ = trained(steps=8)
    for layer in model.seft_layers.values():
        state = optimizer.state[layer.delta]
        young = ages_of(optimizer, layer) == 0
        assert young.any()
        assert not young.all()
        for values in (layer.delta, state["exp_avg"], state["exp_avg_sq"]):
            assert not values[young].any()
            assert values[~young].any()


def test_other_optimizers_keep_their_shared_step_count(tokens):
    model, _, evolver = start()
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=0.01)
    train(model, tokens, optimizer, evolver, range(1, 9))
    for layer in model.seft_layers.values():
        assert optimizer.state[layer.delta]["step"] == 8
        assert not optimizer.state[layer.delta]["exp_avg"].all()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast_of_a_float32_model(tokens, dtype):
    model, optimizer, evolver = start()
    scaler = torch.amp.GradScaler("cpu", enabled=dtype == torch.float16)
    losses = []
    for step in range(1, 9):
        with torch.autocast("cpu", dtype):
            loss = model(input_ids=tokens, labels=tokens).loss
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        evolver.step(optimizer, step)
        optimizer.zero_grad()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    assert all(layer.weight.dtype == torch.float32 for layer in model.seft_layers.values())


def test_an_overflowed_window_is_not_acted_upon(tokens):
    model, optimizer, evolver = start()
    layers = list(model.seft_layers.values())
    model(input_ids=tokens, labels=tokens).loss.backward()
    layers[0].window.total[3] = torch.inf
    layers[1].window.total[3] = torch.nan
    evolver.step(optimizer, 1)
    evolver.step(optimizer, 2)
    assert [len(layer.indices) > 0 for layer in layers] == [False, False] + [True] * 12
    train(model, tokens, optimizer, evolver, range(3, 5))
    assert all(len(layer.indices) for layer in layers)


def test_training_without_an_evolver_is_refused(tokens):
    model = seft.get_seft_model(make_llama(), seft.SeftConfig(density=0.1)).train()
    loss = model(input_ids=tokens, labels=tokens).loss
    with pytest.raises(RuntimeError, match="trains with an Evolver"):
        loss.backward()


def test_steps_that_are_no_count_of_optimizer_steps_are_refused(tokens):
    """Of micro-batches, say: the step at which an evolution is due might never come."""
    model, optimizer, evolver = start()
    train(model, tokens, optimizer, evolver, [1])
    for step in (1, 4):
        with pytest.raises(ValueError, match=f"step={step} must be 2, the number of optimizer"):
            evolver.step(optimizer, step)
    again = seft.Evolver(model, total_steps=20, step=7)
    with pytest.raises(ValueError, match="step=7 must be 8"):
        again.step(optimizer, 7)


def test_what_trains_beside_the_deltas_has_to_be_saved():
    model = seft.get_seft_model(
        tiny_llama(attention_bias=True), seft.SeftConfig(density=0.1, modules_to_save=["norm"])
    )
    model.model.norm.weight.requires_grad_(True)
    seft.Evolver(model, total_steps=1000)
    model.model.layers[0].self_attn.q_proj.bias.requires_grad_(True)
    with pytest.raises(ValueError, match=r"layers\.0\.self_attn\.q_proj\.bias trains, but is not"):
        seft.Evolver(model, total_steps=1000)


def test_a_training_too_short_for_a_selection_is_refused():
    with pytest.raises(ValueError, match=r"total_steps=4 ends before .* at step 5"):
        start(total_steps=4, evolve_every=9, accumulate_steps=5)


@pytest.mark.parametrize(
    ("total_steps", "options", "warns"),
    [
        (12, {}, False),  # after steps 4 and 8; the rate is 0 from step 9.6
        (9, {}, True),  # after step 4 alone
        (12, {"stop_fraction": 0.5}, True),
        (12, {"stagger": True}, True),  # the last layer after step 7 and, at rate 0, step 11
        (16, {"stagger": True}, False),
        (12, {"accumulate_steps": 4}, True),  # step 4 chooses the first positions
        (12, {"accumulate_steps": 4, "init": "random"}, False),
        (3, {"drop_fraction": 0}, False),  # meant not to evolve
    ],
)
def test_a_training_too_short_to_evolve_more_than_once_warns(total_steps, options, warns, recwarn):
    start(total_steps, **options)
    told = [str(w.message) for w in recwarn if "total_steps" in str(w.message)]
    expected = (
        f"total_steps={total_steps} is too short to evolve every layer more than once with "
        "evolve_every=4: lower evolve_every"
    )
    assert told == [expected] * warns
