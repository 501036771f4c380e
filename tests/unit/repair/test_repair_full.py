"""Full fine-tuning, masked and dense, against its definition: float32 copies of all weights."""

import pytest
import torch

from baselines.pruning import prunable_layers
from baselines.repair.base import repaired_layers

LEARNING_RATE, WEIGHT_DECAY = 1e-2, 0.1

every_full = pytest.mark.parametrize("name", ["full", "full-dense"])


def expected_weights(tiny, name: str, dtype: torch.dtype, steps: int) -> dict[str, torch.Tensor]:
    """Weights after training float32 copies of them all; `full`: gradient and copy times mask."""
    model = tiny.pruned_llama(dtype).requires_grad_(False)
    layers = prunable_layers(model)
    masters = {path: layer.weight.detach().float() for path, layer in layers.items()}
    masks = {
        path: (master != 0).float() if name == "full" else torch.ones_like(master)
        for path, master in masters.items()
    }
    for layer in layers.values():
        layer.weight.requires_grad_(True)
    optimizer = torch.optim.AdamW(
        masters.values(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY, foreach=False
    )
    for ids in tiny.tokens(rows=2 * steps).split(2):
        model(input_ids=ids, labels=ids).loss.backward()
        for path, layer in layers.items():
            masters[path].grad = layer.weight.grad.float() * masks[path]
            layer.weight.grad = None
        optimizer.step()
        with torch.no_grad():
            for path, layer in layers.items():
                masters[path].mul_(masks[path])
                layer.weight.copy_(masters[path])
    return masters


def places(name: str, layer: torch.nn.Module) -> torch.Tensor:
    """Where in the flat weight the values of a layer belong, int64."""
    if name == "full":
        return layer.index.long()
    return torch.arange(layer.base_layer.weight.numel())


# One step in bfloat16: a last bit that two AdamW kernels disagree on can flip a rounded weight, and
# the next gradient is another one.
@pytest.mark.parametrize(("dtype", "steps"), [(torch.float32, 3), (torch.bfloat16, 1)], ids=str)
@every_full
def test_training_is_that_of_float32_copies(tiny, name, dtype, steps):
    repair = tiny.build(name, learning_rate=LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    model = repair.wrap(tiny.pruned_llama(dtype), seed=0)
    optimizer = repair.optimizer(model)
    for ids in tiny.tokens(rows=2 * steps).split(2):
        model(input_ids=ids, labels=ids).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    expected = expected_weights(tiny, name, dtype, steps)
    for path, layer in repaired_layers(model).items():
        weight = torch.zeros_like(expected[path])
        weight.view(-1)[places(name, layer)] = layer.values.detach().flatten()
        torch.testing.assert_close(weight, expected[path], rtol=1e-5, atol=1e-5)


@every_full
def test_the_weight_follows_the_float32_values(tiny, name):
    for layer in repaired_layers(tiny.trained(name, torch.bfloat16)).values():
        weight, values = layer.base_layer.weight.flatten(), layer.values.flatten()
        weight = weight[places(name, layer)]
        assert torch.equal(weight, values.bfloat16())
        assert not torch.equal(weight.float(), values)


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


def test_all_weights_train_and_the_merged_model_is_pruned_again_once(tiny):
    base, repair, pruned = tiny.pruned_llama(), tiny.build("full-dense"), []
    entries = sum(layer.weight.numel() for layer in prunable_layers(base).values())
    assert repair.trainable_parameters(repair.wrap(base, seed=0)) == entries
    merged = repair.merge(tiny.trained("full-dense"), pruned.append)
    assert pruned == [merged]
    for layer in prunable_layers(merged).values():
        assert layer.weight.count_nonzero() == layer.weight.numel()
