import json

import pytest
import torch

from baselines.pruning import prunable_layers
from baselines.repair import build_repair


def adapters(model) -> dict:
    """PEFT's LoRA layers by the name of the layer they adapt."""
    return {
        name.removeprefix("base_model.model."): module
        for name, module in model.named_modules()
        if hasattr(module, "lora_A")
    }


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_merging_adds_the_scaled_product(tiny, dtype):
    model, base = tiny.trained("lora-dense", dtype), prunable_layers(tiny.pruned_llama(dtype))
    products = {
        name: layer.lora_B["default"].weight @ layer.lora_A["default"].weight
        for name, layer in adapters(model).items()
    }
    merged = tiny.build("lora-dense").merge(model, tiny.reprune)
    for name, layer in prunable_layers(merged).items():
        expected = (base[name].weight + 16 / 8 * products[name]).to(dtype)
        torch.testing.assert_close(layer.weight, expected, rtol=torch.finfo(dtype).eps, atol=1e-7)


@pytest.mark.parametrize(("name", "calls"), [("lora", 1), ("lora-dense", 0)])
def test_lora_is_pruned_again_after_merging_and_dense_lora_is_not(tiny, name, calls):
    pruned = []
    merged = tiny.build(name).merge(tiny.trained(name), pruned.append)
    assert pruned == [merged] * calls


def test_exactly_the_linear_layers_of_the_blocks_are_adapted(tiny):
    base = tiny.pruned_llama()
    targets = prunable_layers(base).keys()
    model = tiny.build("lora").wrap(base, seed=0)
    assert adapters(model).keys() == targets
    assert "lm_head" not in adapters(model)


def test_rank_times_inputs_and_outputs_is_counted(tiny):
    base = tiny.pruned_llama()
    expected = sum(3 * sum(layer.weight.shape) for layer in prunable_layers(base).values())
    repair = tiny.build("lora", rank=3)
    assert repair.trainable_parameters(repair.wrap(base, seed=0)) == expected


def test_the_options_are_pefts(tiny):
    repair = build_repair("lora", rank=4, alpha=12, dropout=0.25)
    for layer in adapters(repair.wrap(tiny.pruned_llama(), seed=0)).values():
        assert (layer.r["default"], layer.scaling["default"]) == (4, 3)
        assert layer.lora_dropout["default"].p == 0.25


def test_the_seed_decides_the_start_and_leaves_the_global_generator(tiny):
    def starts(seed: int) -> torch.Tensor:
        model = tiny.build("lora").wrap(tiny.pruned_llama(), seed=seed)
        return torch.cat([a.lora_A["default"].weight.flatten() for a in adapters(model).values()])

    torch.manual_seed(5)
    first = starts(0)
    base = tiny.pruned_llama()
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    tiny.build("lora").wrap(base, seed=0)
    assert torch.equal(torch.rand(1), expected)
    assert torch.equal(starts(0), first)
    assert not torch.equal(starts(1), first)


def test_the_adapter_is_saved_in_pefts_format(tiny, tmp_path):
    tiny.build("lora").save(tiny.trained("lora"), tmp_path)
    assert (tmp_path / "adapter_model.safetensors").exists()
    assert json.loads((tmp_path / "adapter_config.json").read_text())["peft_type"] == "LORA"
