import pytest
import torch

from baselines.pruning import prunable_layers
from baselines.repair.shira import random_mask


def adapters(model) -> dict:
    """PEFT's SHiRA layers by the name of the layer they adapt."""
    return {
        name.removeprefix("base_model.model."): module
        for name, module in model.named_modules()
        if hasattr(module, "shira_weight")
    }


def positions(layer) -> torch.Tensor:
    """Flat positions of the weights that train."""
    rows, columns = layer.shira_indices["default"].long()
    return rows * layer.in_features + columns


def test_positions_are_non_zero_weights_as_many_as_lora_has_numbers(tiny):
    model = tiny.build("shira", match_rank=2).wrap(tiny.pruned_llama(), seed=0)
    base = prunable_layers(tiny.pruned_llama())
    assert adapters(model).keys() == base.keys()
    for name, layer in adapters(model).items():
        chosen = positions(layer)
        assert len(chosen.unique()) == len(chosen) == 2 * sum(base[name].weight.shape)
        assert base[name].weight.flatten()[chosen].all()


def test_positions_are_drawn_by_the_seed_anew_for_each_layer(tiny):
    def drawn(seed: int) -> list[torch.Tensor]:
        model = tiny.build("shira").wrap(tiny.pruned_llama(), seed=seed)
        return [positions(layer) for layer in adapters(model).values()]

    first, again, other = drawn(0), drawn(0), drawn(1)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not any(torch.equal(a, b) for a, b in zip(first, other, strict=True))
    weight = torch.ones(6, 5)
    generator = torch.Generator().manual_seed(0)
    masks = [random_mask(weight, 7, generator) for _ in range(2)]
    assert not torch.equal(*masks)


def test_training_is_that_of_static_at_the_same_positions(tiny):
    """PEFT's implementation against the seft library's."""
    shira, static = tiny.build("shira"), tiny.build("static")
    expected = shira.wrap(tiny.pruned_llama(), seed=0)
    model = static.wrap(tiny.pruned_llama(), seed=0)
    for name, layer in adapters(expected).items():
        scores = torch.zeros(layer.in_features * layer.out_features)
        scores[positions(layer)] = 1
        model.seft_layers[name].choose(scores)
    tiny.train(shira, expected)
    tiny.train(static, model)
    base = prunable_layers(tiny.pruned_llama())
    merged = prunable_layers(static.merge(model, tiny.reprune))
    for name, layer in prunable_layers(shira.merge(expected, tiny.reprune)).items():
        assert not torch.equal(layer.weight, base[name].weight)
        torch.testing.assert_close(merged[name].weight, layer.weight, rtol=1e-4, atol=1e-5)


def test_a_layer_with_too_few_weights_is_named(tiny):
    message = r"^model.layers.0.self_attn.q_proj has 640 non-zero weights, fewer than the 720 "
    with pytest.raises(ValueError, match=message):
        tiny.build("shira", match_rank=9).wrap(tiny.pruned_llama(), seed=0)
