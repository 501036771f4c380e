"""Local reconstruction against plain autograd over the whole model."""

from contextlib import nullcontext

import pytest
import torch
from torch.nn import functional as F
from transformers import Gemma4ForCausalLM, Gemma4TextConfig

from baselines.pruning import prunable_layers, prune
from baselines.repair.base import trainables
from seft.blocks import decoder_blocks

PREFIXES = ("model.layers.0.", "model.layers.1.")


class OneStep:
    """A run of one step a round, on two micro-batches, that keeps the gradients of each."""

    def __init__(self, tiny, model, dense):
        self.batches = [[{"input_ids": ids} for ids in tiny.tokens(rows=4).split(2)]]
        self.model, self.dense = model, dense
        self.gradients, self.losses, self.states = [], [], []

    def steps(self, optimizer):
        self.losses.append(0)
        yield 0
        self.gradients.append(
            {n: p.grad.clone() for n, p in trainables(self.model).items() if p.grad is not None}
        )
        self.states.append(optimizer.state)
        optimizer.step()
        optimizer.zero_grad()

    def note(self, loss):
        self.losses[-1] += loss.detach()

    def autocast(self):
        return nullcontext()


@pytest.fixture(params=["sdpa", "eager"])
def one_step(tiny, request):
    """The dense model computes attention in another way at times; ``sdpa`` has no causal mask."""
    model, dense = tiny.build("reconstruct").wrap(tiny.pruned_llama(), seed=0), tiny.dense_llama()
    model.set_attn_implementation("sdpa")
    dense.set_attn_implementation(request.param)
    run = OneStep(tiny, model, dense)
    tiny.build("reconstruct").train(model, run)
    return run


def block_output(model, block: int, ids: torch.Tensor) -> torch.Tensor:
    found = []
    module = list(decoder_blocks(model).values())[block]
    hook = module.register_forward_hook(lambda _, args, output: found.append(output))
    model(input_ids=ids)
    hook.remove()
    return found[0] if torch.is_tensor(found[0]) else found[0][0]


@pytest.mark.parametrize("block", [0, 1])
def test_gradient_of_a_block_is_that_of_autograd_over_the_whole(tiny, one_step, block):
    model, dense = tiny.pruned_llama(), tiny.dense_llama()
    # The blocks before it are repaired, itself it is not yet.
    repaired = tiny.build("reconstruct").merge(one_step.model, tiny.reprune).state_dict()
    before = {n: w for n, w in repaired.items() if n.startswith(PREFIXES[:block])}
    model.load_state_dict(before, strict=False)

    ids = tiny.tokens(rows=4)
    wanted = block_output(dense, block, ids).detach()
    loss = F.mse_loss(block_output(model, block, ids), wanted) / wanted.square().mean()
    loss.backward()

    torch.testing.assert_close(one_step.losses[block], loss.detach())
    expected = {
        f"{name}.values": layer.weight.grad[layer.weight != 0]
        for name, layer in prunable_layers(model).items()
        if name.startswith(PREFIXES[block])
    }
    found = one_step.gradients[block]
    assert found.keys() == expected.keys()
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-4, atol=1e-7)


def sharing_gemma():
    """Two blocks, of which the second attends to the keys and values of the first."""
    torch.manual_seed(0)
    config = Gemma4TextConfig(
        vocab_size=48,
        hidden_size=32,
        intermediate_size=40,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=16,
        global_head_dim=16,
        layer_types=["full_attention"] * 2,
        num_kv_shared_layers=1,
        hidden_size_per_layer_input=8,
        vocab_size_per_layer_input=48,
        initializer_range=0.3,
    )
    return Gemma4ForCausalLM(config).eval()


def test_blocks_that_share_keys_do_so_inside_a_stream(tiny):
    """The dense model's second block attends to what its own first block left there."""
    base, dense, wrapped = sharing_gemma(), sharing_gemma(), sharing_gemma()
    for model in (base, wrapped):
        prune(model, "magnitude", sparsity=0.6)
    repair = tiny.build("reconstruct", learning_rate=0.1)
    run = OneStep(tiny, repair.wrap(wrapped, seed=0), dense)
    repair.train(run.model, run)
    repaired = repair.merge(run.model, tiny.reprune).state_dict()
    before = {n: w for n, w in repaired.items() if n.startswith(PREFIXES[0])}
    base.load_state_dict(before, strict=False)
    ids = tiny.tokens(rows=4)
    with torch.no_grad():
        wanted = block_output(dense, 1, ids)
        loss = F.mse_loss(block_output(base, 1, ids), wanted) / wanted.square().mean()
    torch.testing.assert_close(run.losses[1], loss)


def test_moments_are_of_one_block(one_step):
    for gradients, state in zip(one_step.gradients, one_step.states, strict=True):
        trained = {parameter.shape for parameter in state}
        assert len(state) == len(gradients)
        assert trained == {gradient.shape for gradient in gradients.values()}


def test_zeros_stay_and_the_last_state_comes_nearer(tiny):
    dense, base = tiny.dense_llama(), tiny.pruned_llama()
    merged = tiny.build("reconstruct").merge(tiny.trained("reconstruct"), tiny.reprune)
    for name, layer in prunable_layers(merged).items():
        assert torch.equal(layer.weight == 0, base.get_submodule(name).weight == 0)
    ids = tiny.tokens(seed=1)
    with torch.no_grad():
        wanted, before, after = (block_output(m, 1, ids) for m in (dense, base, merged))
    assert (after - wanted).norm() < 0.95 * (before - wanted).norm()


def test_the_dense_model_is_left_as_it_was(one_step, tiny):
    expected, found = tiny.dense_llama().state_dict(), one_step.dense.state_dict()
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    assert all(parameter.grad is None for parameter in one_step.dense.parameters())
