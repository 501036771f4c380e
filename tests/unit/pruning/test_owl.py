"""OWL's allocation against a transcription, and models pruned by it."""

from fractions import Fraction

import pytest
import torch
from pruning_oracles import owl, owl_minmax, to_numpy

from baselines.pruning import PRUNERS, prunable_layers, prune, sparsity_report, zero_fractions
from baselines.pruning import driver as driver_module
from baselines.pruning.owl import FURTHEST, LAMBDA, block_sparsities

every_pruner = pytest.mark.parametrize("pruner", PRUNERS)
every_allocation = pytest.mark.parametrize("allocation", FURTHEST)


@pytest.fixture
def dense(make_model):
    """A model each of whose blocks has more outliers than the one before."""

    def make(**changes):
        model = make_model(**changes)
        with torch.no_grad():
            for index, block in enumerate(model.model.layers):
                block.mlp.up_proj.weight[:, : 2 * index] *= 30
        return model

    return make


def expected_sparsities(model, calibration, sparsity, allocation="owl") -> list[float]:
    """The transcription, on the inputs of each layer in the dense model."""
    inputs = {}
    layers = prunable_layers(model)
    hooks = [
        layer.register_forward_hook(lambda _, args, out, name=name: inputs.update({name: args[0]}))
        for name, layer in layers.items()
    ]
    with torch.no_grad():
        model.eval()(calibration)
    for hook in hooks:
        hook.remove()
    blocks = [
        [
            (to_numpy(layer.weight), to_numpy(inputs[name]).reshape(-1, layer.in_features))
            for name, layer in layers.items()
            if f"layers.{index}." in name
        ]
        for index in range(len(model.model.layers))
    ]
    return owl(blocks, sparsity, allocation)


@every_pruner
@every_allocation
@pytest.mark.parametrize("sparsity", [0.5, 0.7])
def test_each_layer_gets_the_sparsity_of_its_block(
    pruner, allocation, sparsity, dense, calibration, monkeypatch
):
    monkeypatch.setattr(driver_module, "TOKENS_AT_ONCE", 4 * calibration.shape[1])
    expected = expected_sparsities(dense(), calibration, sparsity, allocation)
    assert len(set(expected)) == 3
    if allocation == "owl":
        assert max(abs(block - sparsity) for block in expected) == pytest.approx(0.08)
    else:
        assert max(expected) - min(expected) == pytest.approx(0.16)
    model, options = dense(), {"calibration": calibration, "allocation": allocation}
    report = prune(model, pruner, sparsity=sparsity, **options)
    for name, layer in prunable_layers(model).items():
        block = expected[int(name.split(".")[2])]
        assert block - 1 / layer.in_features < report.layers[name] <= block + 1e-12
    assert sparsity - 1 / 32 < report.sparsity <= sparsity


@every_pruner
def test_nothing_but_the_targets_differs_from_uniform_sparsity(pruner, dense, calibration):
    model, expected = dense(), dense()
    blocks = expected_sparsities(dense(), calibration, 0.6)
    targets = {name: Fraction(blocks[int(name.split(".")[2])]) for name in prunable_layers(model)}
    prune(model, pruner, sparsity=0.6, calibration=calibration, allocation="owl")
    prune(expected, pruner, sparsity=targets, calibration=calibration)
    for name, layer in prunable_layers(model).items():
        assert torch.equal(layer.weight, expected.get_submodule(name).weight)


def test_the_model_asks_for_as_much_as_with_uniform_sparsity(dense, calibration):
    """Magnitude rounds once a layer, so that the sum shows."""
    model = dense()
    report = prune(model, "magnitude", sparsity=0.6, calibration=calibration, allocation="owl")
    entries = sum(layer.weight.numel() for layer in prunable_layers(model).values())
    assert 0.6 - len(report.layers) / entries < report.sparsity <= 0.6


@every_allocation
def test_blocks_of_different_size_are_weighted(allocation):
    ratios = {"a": Fraction(1, 100), "b": Fraction(3, 100), "c": Fraction(2, 100)}
    sizes = {"a": 100, "b": 700, "c": 50}
    sparsity = Fraction(3, 5)
    result = block_sparsities(allocation, ratios, sizes, sparsity)
    assert sum(result[name] * sizes[name] for name in sizes) == sparsity * sum(sizes.values())
    assert max(abs(value - sparsity) for value in result.values()) <= FURTHEST[allocation]
    assert result["a"] > result["c"] > result["b"]


def test_skewed_ratios_leave_lambda_by_the_authors_mapping_alone():
    ratios = [Fraction(1, 100)] * 9 + [Fraction(9, 100)]
    names = [str(number) for number in range(10)]
    given = dict(zip(names, ratios, strict=True)), dict.fromkeys(names, 4), Fraction(1, 2)
    ours, theirs = (block_sparsities(allocation, *given) for allocation in FURTHEST)
    assert ours["9"] == Fraction(1, 2) - LAMBDA
    assert theirs["9"] == Fraction(1, 2) - 2 * LAMBDA * Fraction(9, 10)
    expected = owl_minmax(ratios, [4] * 10, Fraction(1, 2), LAMBDA)
    assert [theirs[name] for name in names] == expected


@every_allocation
def test_equal_blocks_share_one_sparsity(allocation):
    ratios = dict.fromkeys("ab", Fraction(1, 7))
    half = Fraction(1, 2)
    expected = {"a": half, "b": half}
    assert block_sparsities(allocation, ratios, {"a": 1, "b": 9}, half) == expected


@pytest.mark.parametrize(("pruner", "expected"), [("wanda", [8, 6, 4]), ("magnitude", [4, 2, 2])])
def test_the_dense_model_runs_once_more(
    pruner, expected, dense, calibration, count_runs, monkeypatch
):
    """Once a batch; the first block once more, to learn what it returns."""
    model = dense()
    runs = count_runs(model)
    monkeypatch.setattr(driver_module, "TOKENS_AT_ONCE", 3 * calibration.shape[1])
    prune(model, pruner, sparsity=0.5, calibration=calibration, allocation="owl")
    assert runs == expected


@every_pruner
def test_a_dense_model_is_pruned_like_a_base(pruner, dense, calibration):
    base = dense()
    prune(base, pruner, sparsity=0.6, calibration=calibration, allocation="owl")
    fractions = zero_fractions(base)
    assert len({fractions[f"model.layers.{i}.mlp.down_proj"] for i in range(3)}) > 1
    model = dense()
    with torch.no_grad():
        for layer in prunable_layers(model).values():
            layer.weight += 0.1 * torch.randn(
                layer.weight.shape, generator=torch.Generator().manual_seed(1)
            )
    prune(model, pruner, sparsity=fractions, calibration=calibration)
    assert zero_fractions(model) == fractions


def test_layers_with_one_input_and_different_targets(dense, calibration):
    """Pruned apart, each as it is pruned by itself."""
    model, alone = dense(), dense()
    layers = prunable_layers(model)
    targets = dict.fromkeys(layers, Fraction(1, 2))
    targets["model.layers.0.self_attn.k_proj"] = Fraction(1, 4)
    report = prune(model, "sparsegpt", sparsity=targets, calibration=calibration)
    assert report.layers == {name: float(target) for name, target in targets.items()}
    prune(alone, "sparsegpt", sparsity=0.25, calibration=calibration)
    name = "model.layers.0.self_attn.k_proj.weight"
    assert torch.equal(model.get_parameter(name), alone.get_parameter(name))


@pytest.mark.parametrize(
    ("allocation", "target", "shown"),
    [
        ("owl", {"pattern": "2of4"}, "2of4"),
        ("owl", {"pattern": "s92"}, "s92"),
        ("owl", {"sparsity": 0.05}, "s5"),
        ("owl-minmax", {"pattern": "2of4"}, "2of4"),
        ("owl-minmax", {"pattern": "s84"}, "s84"),
        ("owl-minmax", {"sparsity": 0.16}, "s16"),
    ],
)
def test_what_owl_does_not_apply_to(allocation, target, shown, make_model, calibration):
    model = make_model()
    message = rf"^allocation '{allocation}' does not apply to pattern {shown}; it must be unstruct"
    with pytest.raises(ValueError, match=message):
        prune(model, "wanda", **target, calibration=calibration, allocation=allocation)
    assert sparsity_report(model).sparsity == 0


@every_pruner
def test_an_unknown_allocation(pruner, make_model, calibration):
    message = rf"^pruner '{pruner}': allocation = 'own': .*'uniform', 'owl' or 'owl-minmax' .*\)$"
    with pytest.raises(ValueError, match=message):
        prune(make_model(), pruner, sparsity=0.5, calibration=calibration, allocation="own")


def test_owl_needs_calibration_whatever_the_pruner(make_model):
    with pytest.raises(ValueError, match=r"^magnitude needs calibration: token ids"):
        prune(make_model(), "magnitude", sparsity=0.5, allocation="owl")


@pytest.mark.parametrize("wrong", [None, Fraction(0), Fraction(1)])
def test_a_layer_without_a_target(wrong, make_model):
    model = make_model()
    targets = dict.fromkeys(prunable_layers(model), Fraction(1, 2))
    name = "model.layers.1.mlp.up_proj"
    if wrong is None:
        del targets[name]
    else:
        targets[name] = wrong
    message = rf"^sparsity of {name} is {wrong}; it must lie in \(0, 1\)$"
    with pytest.raises(ValueError, match=message):
        prune(model, "magnitude", sparsity=targets)
    assert sparsity_report(model).sparsity == 0
