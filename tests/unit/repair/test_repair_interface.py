"""What every registered repair promises; a new one is tested by being registered."""

import subprocess
import sys

import pytest
import torch
from transformers import AutoModelForCausalLM

from baselines.pruning import Pattern, prunable_layers, prune, sparsity_report
from baselines.repair import REPAIRS, build_repair
from baselines.repair.base import trainables
from seft.storage import Bitmask
from seft.storage.files import save_bitmask

DTYPES = [torch.float32, torch.bfloat16]
TRAINED = [name for name, repair in REPAIRS.items() if repair.training is not None]
TRAININGS = [name for name in TRAINED if REPAIRS[name].training == name]

every_repair = pytest.mark.parametrize("name", REPAIRS)
every_trained = pytest.mark.parametrize("name", TRAINED)
every_training = pytest.mark.parametrize("name", TRAININGS)
every_packable = pytest.mark.parametrize(
    "name", [name for name in TRAINED if "storage" in REPAIRS[name].Options.model_fields]
)
every_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=["float32", "bfloat16"])


def same(a: dict, b: dict) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def state_of(model) -> dict:
    return {name: tensor.detach().clone() for name, tensor in trainables(model).items()}


@every_repair
def test_attributes_are_consistent(name):
    repair = REPAIRS[name]
    if repair.training is not None:
        assert REPAIRS[repair.training].training == repair.training
        assert REPAIRS[repair.training].Options is repair.Options
    assert all(field.description for field in repair.Options.model_fields.values())


@every_dtype
@every_repair
def test_wrapping_changes_no_output(tiny, name, dtype):
    base = tiny.logits(tiny.pruned_llama(dtype))
    assert torch.equal(tiny.logits(tiny.build(name).wrap(tiny.pruned_llama(dtype), seed=0)), base)


@every_training
def test_how_a_weight_lies_in_memory_is_no_matter(tiny, name):
    merged = []
    for transposed in (False, True):
        base, repair = tiny.pruned_llama(), tiny.build(name)
        for layer in prunable_layers(base).values() if transposed else ():
            layer.weight.data = layer.weight.data.t().contiguous().t()
        model = repair.wrap(base, seed=0)
        tiny.train(repair, model, steps=2)
        merged.append(repair.merge(model, tiny.reprune).state_dict())
    for weight, expected in zip(*(state.values() for state in merged), strict=True):
        torch.testing.assert_close(weight, expected, rtol=1e-3, atol=1e-5)


@every_dtype
@every_trained
def test_trainables_are_float32_and_counted(tiny, name, dtype):
    repair = tiny.build(name)
    model = repair.wrap(tiny.pruned_llama(dtype), seed=0)
    tensors = [parameter for parameter in model.parameters() if parameter.requires_grad]
    assert {tensor.dtype for tensor in tensors} == {torch.float32}
    assert repair.trainable_parameters(model) == sum(tensor.numel() for tensor in tensors) > 0


@every_trained
def test_how_many_numbers_train_is_known_before(tiny, name):
    repair, base = tiny.build(name), tiny.pruned_llama()
    layers = [layer.weight for layer in prunable_layers(base).values()]
    known = sum(repair.numbers(*weight.shape, int(weight.count_nonzero())) for weight in layers)
    assert known == repair.trainable_parameters(repair.wrap(base, seed=0))


@every_dtype
@every_trained
def test_exactly_the_trainables_train(tiny, name, dtype):
    repair = tiny.build(name)
    before = state_of(repair.wrap(tiny.pruned_llama(dtype), seed=0))
    model = tiny.trained(name, dtype)
    assert all(not torch.equal(tensor, before[n]) for n, tensor in trainables(model).items())
    base = tiny.pruned_llama(dtype)
    merged = repair.merge(model, tiny.reprune)
    frozen = base.state_dict().keys() - {f"{layer}.weight" for layer in prunable_layers(base)}
    assert all(torch.equal(merged.state_dict()[n], base.state_dict()[n]) for n in frozen)


@every_dtype
@every_repair
def test_merging_gives_a_plain_model_of_the_bases_dtype(tiny, name, dtype):
    repair, base = tiny.build(name), tiny.pruned_llama(dtype)
    merged = repair.merge(repair.wrap(tiny.pruned_llama(dtype), seed=0), tiny.reprune)
    assert type(merged) is type(base)
    assert [(n, type(m)) for n, m in merged.named_modules()] == [
        (n, type(m)) for n, m in base.named_modules()
    ]
    assert {n: (t.dtype, t.shape) for n, t in merged.state_dict().items()} == {
        n: (t.dtype, t.shape) for n, t in base.state_dict().items()
    }


@every_dtype
@every_trained
def test_the_merged_model_is_as_sparse_as_it_claims(tiny, name, dtype):
    repair, base = tiny.build(name), sparsity_report(tiny.pruned_llama(dtype)).layers
    merged = sparsity_report(repair.merge(tiny.trained(name, dtype), tiny.reprune)).layers
    for layer, sparsity in base.items():
        assert (merged[layer] >= sparsity) == repair.keeps_sparsity


@every_training
def test_of_every_family_the_linear_layers_change_and_nothing_else(tiny, family, name):
    """Biases, tied heads, grouped keys and attention windows, as the families have them."""

    def dense():
        return AutoModelForCausalLM.from_pretrained(family, dtype=torch.float32)

    def base():
        model = dense()
        tiny.reprune(model)
        return model

    repair = tiny.build(name)
    model = repair.wrap(base(), seed=0)
    tiny.train(repair, model, steps=3, dense=dense())
    unmerged = tiny.logits(model)
    merged = repair.merge(model, reprune=lambda model: None)
    torch.testing.assert_close(tiny.logits(merged), unmerged, rtol=0, atol=1e-3)
    before, after = base().state_dict(), merged.state_dict()
    changed = {key for key in before if not torch.equal(before[key], after[key])}
    assert changed == {f"{layer}.weight" for layer in prunable_layers(merged)}


@every_trained
def test_groups_of_an_nm_base_keep_their_zeros(tiny, name):
    pattern = Pattern.parse("2of4")

    def reprune(model):
        prune(model, "magnitude", pattern="2of4")

    repair = tiny.build(name, pattern=pattern)
    model = repair.wrap(tiny.pruned_llama(pattern="2of4"), seed=0)
    tiny.train(repair, model)
    for layer in prunable_layers(repair.merge(model, reprune)).values():
        zeros = (layer.weight.view(-1, 4) == 0).sum(dim=1)
        assert (zeros >= 2).all() == repair.keeps_sparsity


@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 2e-2)], ids=str
)
@every_trained
def test_the_merged_model_answers_as_the_unmerged(tiny, name, dtype, tolerance):
    repair, base = tiny.build(name), tiny.logits(tiny.pruned_llama(dtype))
    model = tiny.trained(name, dtype)
    unmerged = tiny.logits(model)
    merged = tiny.logits(repair.merge(model, reprune=lambda model: None))
    change = (unmerged - base).norm()
    assert change > 5 * tolerance * base.norm()
    assert (merged - unmerged).norm() < tolerance * base.norm()


@every_dtype
@every_trained
def test_what_is_loaded_merges_as_what_was_saved(tiny, tmp_path, name, dtype):
    repair, model = tiny.build(name), tiny.trained(name, dtype)
    repair.save(model, tmp_path / "saved")
    loaded = tiny.build(name).load(tiny.pruned_llama(dtype), tmp_path / "saved")
    assert repair.trainable_parameters(loaded) == repair.trainable_parameters(model)
    merged = repair.merge(model, tiny.reprune).state_dict()
    assert same(repair.merge(loaded, tiny.reprune).state_dict(), merged)


@every_training
def test_a_loaded_model_trains_on(tiny, tmp_path, name):
    repair = tiny.build(name)
    repair.save(tiny.trained(name), tmp_path / "saved")
    loaded = repair.load(tiny.pruned_llama(), tmp_path / "saved")
    before = tiny.logits(loaded)
    tiny.train(repair, loaded)
    assert not torch.equal(tiny.logits(loaded), before)


@every_training
def test_what_is_not_merged_is_neither_pruned_nor_saved(tiny, tmp_path, name):
    """An adapter's matrices would be taken for the model's, its weights for what it computes."""
    repair = tiny.build(name)
    model = repair.wrap(tiny.pruned_llama(), seed=0)
    before = {key: tensor.detach().clone() for key, tensor in model.named_parameters()}
    for use in (tiny.reprune, lambda model: save_bitmask(model, tmp_path / "saved")):
        with pytest.raises(ValueError, match=r"^[\w.]*\.layers\.0\.self_attn\.q_proj .* merge"):
            use(model)
    assert all(torch.equal(before[key], tensor) for key, tensor in model.named_parameters())
    assert not (tmp_path / "saved").exists()
    merged = repair.merge(model, reprune=lambda model: None)
    save_bitmask(merged, tmp_path / "saved")
    tiny.reprune(merged)


@every_training
def test_a_seed_decides_everything(tiny, name):
    def trained(seed: int) -> dict:
        repair = tiny.build(name)
        model = repair.wrap(tiny.pruned_llama(), seed=seed)
        tiny.train(repair, model, seed=seed)
        return state_of(model)

    once = state_of(tiny.trained(name))
    # Draws from the global generator, whose state is no part of the result.
    torch.rand(100)
    assert same(trained(seed=0), once)
    assert not same(trained(seed=1), once)


@pytest.mark.parametrize(
    "name", [name for name in TRAININGS if "objective" in REPAIRS[name].Options.model_fields]
)
def test_what_is_distilled_is_another_thing_than_the_text(tiny, name):
    repair = tiny.build(name, objective="distill")
    model = repair.wrap(tiny.pruned_llama(), seed=0)
    tiny.train(repair, model)
    distilled, learnt = state_of(model), state_of(tiny.trained(name))
    assert all(not torch.equal(distilled[parameter], learnt[parameter]) for parameter in learnt)


@every_training
def test_gradient_checkpointing_changes_nothing(tiny, name):
    repair = tiny.build(name)
    model = repair.wrap(tiny.pruned_llama(torch.bfloat16), seed=0)
    model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    tiny.train(repair, model)
    assert any(getattr(module, "gradient_checkpointing", False) for module in model.modules())
    assert same(state_of(model), state_of(tiny.trained(name, torch.bfloat16)))


@every_dtype
@every_packable
def test_a_packed_base_changes_nothing(tiny, tmp_path, name, dtype):
    repair, model = tiny.build(name), tiny.trained(name, dtype)
    packing = tiny.build(name, storage="bitmask")
    packed = packing.wrap(tiny.pruned_llama(dtype), seed=0)
    assert any(isinstance(module, Bitmask) for module in packed.modules())
    tiny.train(packing, packed)
    assert same(state_of(packed), state_of(model))
    packing.save(packed, tmp_path / "saved")
    loaded = packing.load(tiny.pruned_llama(dtype), tmp_path / "saved")
    merged = repair.merge(model, tiny.reprune).state_dict()
    assert same(packing.merge(packed, tiny.reprune).state_dict(), merged)
    assert same(packing.merge(loaded, tiny.reprune).state_dict(), merged)


@every_repair
def test_an_unknown_option_is_one_line(name):
    with pytest.raises(ValueError, match=rf"repair '{name}': rnak = 3: .*options: ") as error:
        build_repair(name, rnak=3)
    assert "\n" not in str(error.value)


@every_trained
def test_a_wrong_value_is_one_line(name):
    message = "learning_rate = -1: allowed: greater than 0"
    with pytest.raises(ValueError, match=message) as error:
        build_repair(name, learning_rate=-1)
    assert "\n" not in str(error.value)


def test_options_cost_no_import_of_transformers():
    code = """
import sys
from baselines.repair import REPAIRS
assert "torch" not in sys.modules
for repair in REPAIRS.values():
    repair.Options.model_json_schema()
assert not {"transformers", "peft"} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], check=True)
