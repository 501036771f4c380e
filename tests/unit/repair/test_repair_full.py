"""Masked full fine-tuning against its definition: dense weights, multiplied by the mask."""

import pytest
import torch

from baselines.pruning import prunable_layers
from baselines.repair.base import repaired_layers

LEARNING_RATE, WEIGHT_DECAY = 1e-2, 0.1


def dense_and_masked(tiny, dtype: torch.dtype, steps: int) -> dict[str, torch.Tensor]:
    """Weights after training float32 copies of all weights, gradient and copy times the mask."""
    model = tiny.pruned_llama(dtype).requires_grad_(False)
    layers = prunable_layers(model)
    masters = {name: layer.weight.detach().float() for name, layer in layers.items()}
    masks = {name: (master != 0).float() for name, master in masters.items()}
    for layer in layers.values():
        layer.weight.requires_grad_(True)
    optimizer = torch.optim.AdamW(
        masters.values(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY, foreach=False
    )
    for ids in tiny.tokens(rows=2 * steps).split(2):
        model(input_ids=ids, labels=ids).loss.backward()
        for name, layer in layers.items():
            masters[name].grad = layer.weight.grad.float() * masks[name]
            layer.weight.grad = None
        optimizer.step()
        with torch.no_grad():
            for name, layer in layers.items():
                masters[name].mul_(masks[name])
                layer.weight.copy_(masters[name])
    return masters


# One step in bfloat16: a last bit that two AdamW kernels disagree on can flip a rounded weight, and
# the next gradient is another one.
@pytest.mark.parametrize(("dtype", "steps"), [(torch.float32, 3), (torch.bfloat16, 1)], ids=str)
def test_training_is_that_of_dense_weights_under_the_mask(tiny, dtype, steps):
    repair = tiny.build("full", learning_rate=LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    model = repair.wrap(tiny.pruned_llama(dtype), seed=0)
    optimizer = repair.optimizer(model)
    for ids in tiny.tokens(rows=2 * steps).split(2):
        model(input_ids=ids, labels=ids).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    expected = dense_and_masked(tiny, dtype, steps)
    for name, layer in repaired_layers(model).items():
        master = torch.zeros_like(expected[name])
        master.view(-1)[layer.index.long()] = layer.values.detach()
        torch.testing.assert_close(master, expected[name], rtol=1e-5, atol=1e-5)


def test_the_weight_follows_the_float32_values(tiny):
    for layer in repaired_layers(tiny.trained("full", torch.bfloat16)).values():
        weight = layer.base.weight.flatten()
        assert torch.equal(weight[layer.index], layer.values.bfloat16())
        assert not torch.equal(weight[layer.index].float(), layer.values)


def test_zeros_stay_where_they_are(tiny):
    merged = tiny.build("full").merge(tiny.trained("full"), tiny.reprune)
    base = prunable_layers(tiny.pruned_llama())
    for name, layer in prunable_layers(merged).items():
        assert torch.equal(layer.weight == 0, base[name].weight == 0)


def test_the_non_zero_weights_are_counted_and_saved(tiny, tmp_path):
    base, repair = tiny.pruned_llama(torch.bfloat16), tiny.build("full")
    non_zeros = sum(int(layer.weight.count_nonzero()) for layer in prunable_layers(base).values())
    model = repair.wrap(base, seed=0)
    assert repair.trainable_parameters(model) == non_zeros
    repair.save(model, tmp_path)
    (file,) = tmp_path.iterdir()
    header = 200 * len(repaired_layers(model))
    assert 2 * non_zeros < file.stat().st_size < 2 * non_zeros + header


def test_another_base_is_not_loaded(tiny, tmp_path):
    repair = tiny.build("full")
    repair.save(tiny.trained("full"), tmp_path)
    base = tiny.pruned_llama()
    layer = base.model.layers[1].mlp.down_proj
    non_zeros = int(layer.weight.count_nonzero())
    with torch.no_grad():
        layer.weight.view(-1)[layer.weight.flatten().nonzero()[0]] = 0
    message = (
        rf"layers.1.mlp.down_proj.values: shape \({non_zeros - 1},\) expected, \({non_zeros},\)"
    )
    with pytest.raises(ValueError, match=message):
        repair.load(base, tmp_path)
