"""What holds for every registered pruner, on every architecture."""

import copy
import functools

import pytest
import torch

from baselines.imports import imported
from baselines.pruning import PRUNERS, Pattern, prunable_layers, prune, sparsity_report
from baselines.pruning import driver as driver_module

CALIBRATED = [name for name in PRUNERS if PRUNERS[name].needs_calibration]


@pytest.fixture(params=PRUNERS)
def pruner(request):
    return request.param


def zeros(layer):
    return (layer.weight == 0).double().mean().item()


@pytest.mark.parametrize(("dtype", "tied"), [(torch.float32, False), (torch.bfloat16, True)])
@pytest.mark.parametrize("pattern", ["s60", "2of4"])
def test_prunes_the_linear_layers_and_nothing_else(
    pruner, pattern, dtype, tied, architecture, make_model, calibration
):
    model = make_model(architecture, dtype, tied)
    before = copy.deepcopy(model.state_dict())
    layers = prunable_layers(model)
    report = prune(model, pruner, pattern=pattern, calibration=calibration)
    after = model.state_dict()
    changed = {name for name in after if not torch.equal(before[name], after[name])}
    assert changed == {f"{name}.weight" for name in layers}
    assert not any("embed" in name or "head" in name for name in changed)
    assert {value.dtype for value in after.values()} == {dtype}
    target = Pattern.parse(pattern)
    for layer in layers.values():
        assert target.sparsity - 1 / layer.in_features < zeros(layer) <= target.sparsity
        if target.m is not None:
            groups = (layer.weight == 0).unflatten(1, (-1, target.m))
            assert (groups.sum(-1) == target.n).all()
    assert report == sparsity_report(model)
    assert report.layers == {name: zeros(layer) for name, layer in layers.items()}
    entries = {name: layer.weight.numel() for name, layer in layers.items()}
    total = sum(report.layers[name] * entries[name] for name in layers) / sum(entries.values())
    assert report.sparsity == pytest.approx(total, abs=1e-12)


@pytest.mark.parametrize("pattern", ["s60", "2of4"])
def test_weights_that_stay_keep_their_value_if_the_pruner_says_so(
    pruner, pattern, make_model, calibration
):
    model, dense = make_model(), prunable_layers(make_model())
    prune(model, pruner, pattern=pattern, calibration=calibration)
    kept = all(
        torch.equal(layer.weight, dense[name].weight.where(layer.weight != 0, 0))
        for name, layer in prunable_layers(model).items()
    )
    assert kept == PRUNERS[pruner].keeps_weights


def test_odd_widths(pruner, make_model, calibration):
    model = make_model(
        hidden_size=30, num_attention_heads=3, num_key_value_heads=1, intermediate_size=17
    )
    report = prune(model, pruner, sparsity=0.6, calibration=calibration)
    down = model.model.layers[1].mlp.down_proj
    assert 0.6 - 1 / 17 < zeros(down) == report.layers["model.layers.1.mlp.down_proj"] <= 0.6


def test_runs_are_bit_identical(pruner, make_model, calibration):
    models = [make_model(dtype=torch.bfloat16) for _ in range(2)]
    for model in models:
        prune(model, pruner, sparsity=0.5, calibration=calibration)
    first, second = (model.state_dict() for model in models)
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_the_three_ways_to_name_a_target(pruner, make_model, calibration):
    targets = [{"sparsity": 0.5}, {"pattern": "s50"}, {"pattern": Pattern.parse("s50")}]
    weights = []
    for target in targets:
        model = make_model()
        prune(model, pruner, calibration=calibration, **target)
        weights.append(model.model.layers[2].mlp.down_proj.weight)
    assert torch.equal(weights[0], weights[1])
    assert torch.equal(weights[0], weights[2])


def test_leaves_the_model_as_it_was(pruner, make_model, calibration):
    model = make_model()
    model.train()
    model.model.layers[1].eval()
    wrapper = model.model.layers[0].forward = functools.partial(model.model.layers[0].forward)
    modes = [module.training for module in model.modules()]
    attributes = [set(vars(module)) for module in model.modules()]
    config = model.config.to_dict()
    prune(model, pruner, sparsity=0.5, calibration=calibration)
    assert [module.training for module in model.modules()] == modes
    assert [set(vars(module)) for module in model.modules()] == attributes
    assert model.model.layers[0].forward is wrapper
    assert model.config.to_dict() == config
    assert not any(module._forward_pre_hooks for module in model.modules())
    assert all(value.requires_grad and value.grad is None for value in model.parameters())


def test_the_head_does_not_run(pruner, make_model, calibration):
    model = make_model()
    calls = []
    model.lm_head.register_forward_hook(lambda *call: calls.append(call))
    prune(model, pruner, sparsity=0.5, calibration=calibration)
    assert calls == []


@pytest.mark.parametrize("pruner", set(PRUNERS) - set(CALIBRATED))
def test_no_forward_without_calibration(pruner, make_model):
    model = make_model()
    calls = []
    for module in model.modules():
        module.register_forward_hook(lambda *call: calls.append(call))
    prune(model, pruner, sparsity=0.5)
    assert calls == []


def inputs_of(layers, forward):
    """What each layer is given during one forward pass."""
    inputs = {}
    hooks = [
        layer.register_forward_hook(lambda _, args, out, name=name: inputs.update({name: args[0]}))
        for name, layer in layers.items()
    ]
    with torch.no_grad():
        forward()
    for hook in hooks:
        hook.remove()
    return inputs


@pytest.mark.parametrize("pruner", CALIBRATED)
@pytest.mark.parametrize("pattern", ["s60", "2of4"])
def test_each_block_sees_what_the_pruned_blocks_before_it_produce(
    pruner, pattern, architecture, make_model, calibration, monkeypatch
):
    """Against the whole model run anew for each block, layer by layer and nothing shared."""
    model, expected = make_model(architecture), make_model(architecture)
    monkeypatch.setattr(driver_module, "TOKENS_AT_ONCE", 4 * calibration.shape[1])
    prune(model, pruner, pattern=pattern, calibration=calibration)

    method, target = PRUNERS[pruner](), Pattern.parse(pattern)
    expected.eval()
    layers = prunable_layers(expected)
    for index in range(3):
        inside = {name: layer for name, layer in layers.items() if f"layers.{index}." in name}
        inputs = inputs_of(inside, lambda: expected(calibration))
        for name, layer in inside.items():
            statistic = method.statistic(layer.in_features, layer.weight.device)
            statistic.add(inputs[name].reshape(-1, layer.in_features))
            with torch.no_grad():
                method.prune({name: layer}, target, statistic)
    for name, layer in prunable_layers(model).items():
        torch.testing.assert_close(layer.weight, layers[name].weight, rtol=1e-3, atol=1e-4)
        assert torch.equal(layer.weight == 0, layers[name].weight == 0)


@pytest.mark.parametrize("pruner", CALIBRATED)
def test_layers_with_the_same_input_share_one_statistic(
    pruner, make_model, calibration, monkeypatch
):
    cls = PRUNERS[pruner]
    pruned, statistics = [], []
    prune_layers, statistic = cls.prune, cls.statistic

    def spy_prune(self, layers, pattern, statistic):
        pruned.append({name.rpartition(".")[2] for name in layers})
        prune_layers(self, layers, pattern, statistic)

    def spy_statistic(self, *args):
        statistics.append(args)
        return statistic(self, *args)

    monkeypatch.setattr(cls, "prune", spy_prune)
    monkeypatch.setattr(cls, "statistic", spy_statistic)
    monkeypatch.setattr(driver_module, "TOKENS_AT_ONCE", 2 * calibration.shape[1])
    prune(make_model(), pruner, sparsity=0.5, calibration=calibration)
    block = [{"q_proj", "k_proj", "v_proj"}, {"o_proj"}, {"gate_proj", "up_proj"}, {"down_proj"}]
    assert sorted(pruned, key=sorted) == sorted(block * 3, key=sorted)
    assert len(statistics) == 12


@pytest.mark.parametrize("pruner", CALIBRATED)
def test_no_block_runs_more_often_than_needed(
    pruner, make_model, calibration, count_runs, monkeypatch
):
    """Twice a batch, the last block once; the first block once more, to learn what it returns."""
    model = make_model()
    runs = count_runs(model)
    monkeypatch.setattr(driver_module, "TOKENS_AT_ONCE", 3 * calibration.shape[1])
    prune(model, pruner, sparsity=0.5, calibration=calibration)
    assert runs == [6, 4, 2]


@pytest.mark.parametrize("pruner", CALIBRATED)
def test_batches_do_not_change_the_masks(pruner, make_model, calibration, monkeypatch):
    masks = []
    for tokens in (1, 5 * calibration.shape[1], 10**6):
        monkeypatch.setattr(driver_module, "TOKENS_AT_ONCE", tokens)
        model = make_model()
        prune(model, pruner, sparsity=0.5, calibration=calibration)
        masks.append([layer.weight == 0 for layer in prunable_layers(model).values()])
    for other in masks[1:]:
        assert all(torch.equal(a, b) for a, b in zip(masks[0], other, strict=True))


def test_sources_are_the_pruners_own_and_what_they_import(pruner):
    names = {path.name for path in imported([PRUNERS.file(pruner)])}
    own = {f"{PRUNERS[other].__module__.rpartition('.')[2]}.py" for other in PRUNERS}
    assert {"masks.py", "pattern.py", "pruner.py"} <= names
    assert names & own == {f"{PRUNERS[pruner].__module__.rpartition('.')[2]}.py"}
