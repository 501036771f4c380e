from copy import deepcopy
from functools import cache
from types import SimpleNamespace

import pytest
import torch
from tiny import tiny_llama
from transformers import LlamaForCausalLM

import bench.training.train
from baselines.pruning import prune
from baselines.repair import REPAIRS, build_repair
from bench.config.training import Training
from bench.data.tokens import Blocks

LENGTH, VOCABULARY = 12, 48

# What a method that has these options needs to show its work on the tiny model in a few steps.
OPTIONS = {"match_rank": 2, "evolve_every": 2, "accumulate_steps": 1}
LEARNING_RATES = {"spp": 0.1, "static": 2e-2, "shira": 2e-2}


def dense_llama(dtype: torch.dtype = torch.float32) -> LlamaForCausalLM:
    """Two blocks; 16 divides none of the layers' 40, 20 and 56 outputs."""
    model = tiny_llama(
        vocab_size=VOCABULARY,
        hidden_size=40,
        intermediate_size=56,
        num_attention_heads=4,
        initializer_range=0.2,
    ).eval()
    # OPT's layers and Qwen's have biases, LLaMA's do not: one layer has one.
    layer = model.model.layers[0].mlp.up_proj
    layer.bias = torch.nn.Parameter(torch.randn(layer.out_features))
    return model.to(dtype)


def pruned_llama(dtype: torch.dtype = torch.float32, pattern: str = "s60") -> LlamaForCausalLM:
    """The same, 60 % sparse by default."""
    model = dense_llama()
    prune(model, "magnitude", pattern=pattern)
    return model.to(dtype)


def reprune(model: torch.nn.Module) -> None:
    prune(model, "magnitude", sparsity=0.6)


def tokens(seed: int = 0, rows: int = 8) -> torch.Tensor:
    """Token ids, int64 of shape (rows, LENGTH)."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, VOCABULARY, (rows, LENGTH), generator=generator)


def build(name: str, **options):
    """The repair with a learning rate that shows in a few steps of either dtype."""
    if REPAIRS[name].training is not None:
        known = REPAIRS[name].Options.model_fields
        small = {option: value for option, value in OPTIONS.items() if option in known}
        options = {"learning_rate": LEARNING_RATES.get(name, 1e-2), **small, **options}
    return build_repair(name, **options)


def train(
    repair,
    model: torch.nn.Module,
    seed: int = 0,
    steps: int = 4,
    dense: torch.nn.Module | None = None,
) -> None:
    """Some steps, as the benchmark takes them.

    Args:
        repair: that has wrapped the model.
        model: of any family with this vocabulary.
        seed: of the order of the text, and of dropout.
        steps: optimizer steps, of two forward passes each.
        dense: the dense model; None: the tiny one.
    """
    dtype = model.get_input_embeddings().weight.dtype
    settings = Training(
        mixture=[{"data": "x"}], length=LENGTH, batch_size=2, gradient_accumulation=2, steps=steps
    )
    ids = tokens(rows=settings.blocks)
    dense = dense or dense_llama(dtype)
    dense = dense if repair.needs_dense else None
    blocks = Blocks(ids, ids)
    bench.training.train.train(model, repair, blocks, settings, seed=seed, dtype=dtype, dense=dense)


def logits(model: torch.nn.Module) -> torch.Tensor:
    """What the model answers in evaluation, float32 of shape (rows, LENGTH, VOCABULARY)."""
    with torch.no_grad():
        return model.eval()(input_ids=tokens(seed=1)).logits.float()


def assert_autocast_gradients(layer: torch.nn.Module, *names: str) -> None:
    """A float32 adapter on a bfloat16 layer has the gradients of one in float32, in float32.

    Args:
        layer: a repaired layer in float32.
        names: of its trained parameters.
    """
    layer.base_layer.bfloat16()
    reference = deepcopy(layer).float()
    x = torch.randn(6, layer.base_layer.in_features).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        y = layer(x)
        assert y.dtype == torch.bfloat16
    y.sum().backward()
    reference(x.float()).sum().backward()
    for name in names:
        gradient, expected = (getattr(model, name).grad for model in (layer, reference))
        assert gradient.dtype == torch.float32
        assert (gradient - expected).norm() < 0.02 * expected.norm()


@cache
def _trained(training: str, dtype: torch.dtype) -> torch.nn.Module:
    repair = build(training)
    model = repair.wrap(pruned_llama(dtype), seed=0)
    train(repair, model)
    return model


def trained(name: str, dtype: torch.dtype = torch.float32) -> torch.nn.Module:
    """The wrapped model after ``train``: a copy, since a training takes half a second."""
    return deepcopy(_trained(REPAIRS[name].training, dtype))


@pytest.fixture(scope="session")
def tiny():
    """The helpers of this folder's tests."""
    return SimpleNamespace(
        dense_llama=dense_llama,
        pruned_llama=pruned_llama,
        reprune=reprune,
        tokens=tokens,
        build=build,
        train=train,
        trained=trained,
        logits=logits,
        assert_autocast_gradients=assert_autocast_gradients,
    )
