"""A merged model is pruned again as its base was."""

import pytest
import torch
from safetensors.torch import save_file
from tiny import tiny_llama
from transformers import LlamaForCausalLM

from baselines.pruning import PRUNERS, prunable_layers, prune, zero_fractions
from baselines.repair import build_repair
from baselines.repair.base import trainables
from bench.cells import Cell
from bench.models.merging import repruner


def llama() -> LlamaForCausalLM:
    """Two blocks, the first with outliers."""
    model = tiny_llama(vocab_size=48, num_attention_heads=4, initializer_range=0.2).eval()
    with torch.no_grad():
        model.model.layers[0].mlp.up_proj.weight[:, :2] *= 30
    return model


@pytest.mark.parametrize("allocation", ["uniform", "owl"])
@pytest.mark.parametrize("repair", ["lora", "full-dense"])
@pytest.mark.parametrize("pruner", PRUNERS)
def test_every_layer_becomes_as_sparse_as_it_was(pruner, repair, allocation, tmp_path):
    calibration = torch.randint(48, (4, 12), generator=torch.Generator().manual_seed(1))
    save_file({"input_ids": calibration}, tmp_path / "calibration.safetensors")
    options, base = {"allocation": allocation}, llama()
    prune(base, pruner, pattern="s60", calibration=calibration, **options)
    sparsities = zero_fractions(base)
    blocks = {sparsities[f"model.layers.{index}.mlp.up_proj"] for index in (0, 1)}
    assert len(blocks) == (1 if allocation == "uniform" else 2)

    cell = Cell("tiny", pruner, "s60", repair, seed=0)
    reprune = repruner(cell, options, base, str(tmp_path / "calibration.safetensors"))
    method = build_repair(repair)
    model = method.wrap(base, seed=0)
    with torch.no_grad():
        for parameter in trainables(model).values():
            parameter += 0.05
    optimizer = method.optimizer(model)  # a step of nothing: what follows the optimizer is done
    optimizer.step()
    merged = method.merge(model, reprune)
    assert len(prunable_layers(merged)) == len(sparsities)
    assert zero_fractions(merged) == sparsities
