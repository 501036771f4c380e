"""Dense full fine-tuning against float32 copies of all weights."""

import pytest
import torch

from baselines.pruning import prunable_layers
from baselines.repair.base import repaired_layers

LEARNING_RATE, WEIGHT_DECAY = 1e-2, 0.1


def dense(tiny, dtype: torch.dtype, steps: int) -> dict[str, torch.Tensor]:
    """Weights after training float32 copies of all of them."""
    model = tiny.pruned_llama(dtype).requires_grad_(False)
    layers = prunable_layers(model)
    masters = {name: layer.weight.detach().float() for name, layer in layers.items()}
    for layer in layers.values():
        layer.weight.requires_grad_(True)
    optimizer = torch.optim.AdamW(
        masters.values(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY, foreach=False
    )
    for ids in tiny.tokens(rows=2 * steps).split(2):
        model(input_ids=ids, labels=ids).loss.backward()
        for name, layer in layers.items():
            masters[name].grad = layer.weight.grad.float()
            layer.weight.grad = None
        optimizer.step()
        with torch.no_grad():
            for name, layer in layers.items():
                layer.weight.copy_(masters[name])
    return masters


# One step in bfloat16: a last bit that two AdamW kernels disagree on can flip a rounded weight, and
# the next gradient is another one.
@pytest.mark.parametrize(("dtype", "steps"), [(torch.float32, 3), (torch.bfloat16, 1)], ids=str)
def test_training_is_that_of_dense_weights(tiny, dtype, steps):
    repair = tiny.build("full-dense", learning_rate=LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    model = repair.wrap(tiny.pruned_llama(dtype), seed=0)
    optimizer = repair.optimizer(model)
    for ids in tiny.tokens(rows=2 * steps).split(2):
        model(input_ids=ids, labels=ids).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    expected = dense(tiny, dtype, steps)
    for name, layer in repaired_layers(model).items():
        torch.testing.assert_close(layer.values.detach(), expected[name], rtol=1e-5, atol=1e-5)


def test_the_weight_follows_the_float32_values(tiny):
    for layer in repaired_layers(tiny.trained("full-dense", torch.bfloat16)).values():
        assert torch.equal(layer.base.weight, layer.values.bfloat16())
        assert not torch.equal(layer.base.weight.float(), layer.values)


def test_all_weights_train_and_the_merged_model_is_pruned_again_once(tiny):
    base, repair, pruned = tiny.pruned_llama(), tiny.build("full-dense"), []
    entries = sum(layer.weight.numel() for layer in prunable_layers(base).values())
    assert repair.trainable_parameters(repair.wrap(base, seed=0)) == entries
    merged = repair.merge(tiny.trained("full-dense"), pruned.append)
    assert pruned == [merged]
    for layer in prunable_layers(merged).values():
        assert layer.weight.count_nonzero() == layer.weight.numel()
