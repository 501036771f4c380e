"""Wrapping, saving, loading and merging."""

import json
import pickle
from copy import deepcopy
from struct import pack

import pytest
import torch
from peft import LoraConfig, get_peft_model
from seft_loop import adamw, make_llama, train
from torch import nn
from transformers import LlamaForCausalLM

import seft
from seft import SeftConfig, SeftModel, get_seft_model


def test_the_model_stays_of_its_own_class():
    model = get_seft_model(make_llama(), SeftConfig(density=0.1))
    assert isinstance(model, SeftModel)
    assert isinstance(model, LlamaForCausalLM)
    merged = model.merge_and_unload()
    assert type(merged) is LlamaForCausalLM
    assert not any(isinstance(m, seft.layer.SeftLinear) for m in merged.modules())
    assert not hasattr(merged, "seft_config")
    for name, parameter in make_llama().named_parameters():
        assert torch.equal(merged.get_parameter(name), parameter)


@pytest.mark.parametrize(
    ("options", "number"),
    [
        ({}, 14),
        ({"target_modules": ["q_proj", "mlp.up_proj"]}, 4),
        ({"target_modules": r".*\.1\.self_attn\..*"}, 4),
        ({"exclude_modules": ["down_proj"]}, 12),
        ({"exclude_modules": r".*mlp.*"}, 8),
        ({"layers_to_transform": 1}, 7),
        ({"layers_to_transform": [0, 1], "target_modules": ["k_proj"]}, 2),
    ],
)
def test_targets(options, number):
    model = get_seft_model(make_llama(), SeftConfig(density=0.1, **options))
    assert len(model.seft_layers) == number
    assert all(name.startswith("model.layers.") for name in model.seft_layers)


@pytest.mark.parametrize("target", [["lm_head"], ["embed_tokens"], ["qproj"], "q_proj"])
def test_targets_that_match_nothing_are_named(target):
    with pytest.raises(ValueError, match=r"no nn\.Linear in the 2 decoder blocks"):
        get_seft_model(make_llama(), SeftConfig(density=0.1, target_modules=target))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"density": 0.9}, "q_proj has [0-9]+ non-zero weights, fewer than its 230 active"),
        ({"density": 0.1, "pattern": (2, 4)}, "has groups of 4 inputs with fewer than 2 pruned"),
        (
            {"density": 0.1, "target_modules": ["q_proj", "lm_head"]},
            "matches 'lm_head' of target_m",
        ),
        ({"density": 0.1, "exclude_modules": ["qproj"]}, "matches 'qproj' of exclude_modules"),
        ({"density": 0.1, "layers_to_transform": [0, 2]}, "no decoder block 2; allowed: 0 to 1"),
        ({"density": 0.1, "layers_to_transform": -1}, "no decoder block -1; allowed: 0 to 1"),
        ({"density": 0.1, "pattern": (2, 5)}, "has 16 inputs, no multiple of 5"),
        ({"density": 0.1, "modules_to_save": ["head"]}, "modules_to_save='head' names no module"),
        ({"density": 0.1, "modules_to_save": ["mlp"]}, "'mlp' holds the target layer"),
    ],
)
def test_what_does_not_fit_the_model_is_named(options, message):
    model = make_llama()
    with pytest.raises(ValueError, match=message):
        get_seft_model(model, SeftConfig(**options))
    assert type(model) is LlamaForCausalLM
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_wrapping_twice_is_refused():
    model = get_seft_model(make_llama(), SeftConfig(density=0.1))
    with pytest.raises(ValueError, match="a SEFT model already"):
        get_seft_model(model, SeftConfig(density=0.1))


def test_quantised_layers_are_refused():
    model = make_llama()
    packed = nn.Parameter(torch.zeros(16, 16, dtype=torch.uint8), requires_grad=False)
    model.model.layers[1].self_attn.q_proj.weight = packed
    with pytest.raises(ValueError, match=r"layers\.1\.self_attn\.q_proj has torch\.uint8 weights"):
        get_seft_model(model, SeftConfig(density=0.1))


def test_a_model_without_blocks_is_refused():
    with pytest.raises(ValueError, match="Sequential has no list of decoder blocks"):
        get_seft_model(nn.Sequential(nn.Linear(2, 2)), SeftConfig(density=0.5))


def test_number_of_trainable_parameters_is_that_of_lora(capsys):
    from peft import LoraConfig, get_peft_model

    model = get_seft_model(make_llama(), SeftConfig(match_rank=1))
    lora = get_peft_model(make_llama(), LoraConfig(r=1, target_modules="all-linear"))
    assert model.get_nb_trainable_parameters()[0] == lora.get_nb_trainable_parameters()[0]
    model.print_trainable_parameters()
    assert (
        f"trainable params: {lora.get_nb_trainable_parameters()[0]} || all params: "
        in capsys.readouterr().out
    )


def test_merged_outputs_are_the_unmerged(trained, tokens):
    model, _, _ = trained()
    model.eval()
    with torch.no_grad():
        before = model(input_ids=tokens).logits
        merged = model.merge_and_unload()
        assert torch.equal(merged(input_ids=tokens).logits, before)
    with torch.no_grad():
        assert not torch.equal(make_llama()(input_ids=tokens).logits, before)


def lora():
    """PEFT's own LoRA on the tiny LLaMA, as if it had trained."""
    model = get_peft_model(make_llama(), LoraConfig(r=2, target_modules=["q_proj", "up_proj"]))
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            parameter.data.fill_(0.1)
    return model


def fail_without_adapter(model):
    with model.disable_adapter():
        raise KeyError


@pytest.mark.parametrize("storage", [None, *seft.storage.STORAGES])
@pytest.mark.parametrize("mask", ["evolve", "free"])
def test_the_base_is_there_under_pefts_names(trained, tokens, storage, mask):
    """`storage` None: PEFT's LoRA, which is to be exchanged for SEFT."""
    model = lora() if storage is None else trained(steps=16, storage=storage, mask=mask)[0]
    model.eval()

    @torch.no_grad()
    def logits(model) -> torch.Tensor:
        return model(input_ids=tokens).logits

    adapted, expected = logits(model), logits(make_llama())
    assert not torch.equal(adapted, expected)
    with model.disable_adapter():
        assert torch.equal(logits(model), expected)
    assert torch.equal(logits(model), adapted)
    with pytest.raises(KeyError):
        fail_without_adapter(model)
    assert torch.equal(logits(model), adapted)
    assert torch.equal(logits(model.get_base_model()), adapted)
    assert isinstance(model.get_base_model(), LlamaForCausalLM)
    assert list(model.peft_config) == ["default"]
    unloaded = model.unload()
    assert type(unloaded) is LlamaForCausalLM
    base, again = make_llama().state_dict(), unloaded.state_dict()
    assert base.keys() == again.keys()
    assert all(torch.equal(base[name], again[name]) for name in base)


def test_a_loss_from_before_the_base_computes_can_go_backward(trained, tokens):
    model, _, _ = trained(steps=3)
    loss = model(input_ids=tokens, labels=tokens).loss
    with torch.no_grad(), model.disable_adapter():
        reference = model(input_ids=tokens, labels=tokens).loss
    (loss - reference).backward()
    assert all(layer.delta.grad.any() for layer in model.seft_layers.values())


@pytest.mark.parametrize("call", ["unload", "disable_adapter"])
def test_a_base_that_is_not_kept_is_not_promised(trained, call):
    model, _, _ = trained(modules_to_save=["lm_head"])
    with pytest.raises(ValueError, match=r"modules_to_save=\['lm_head'\] trained in place"):
        getattr(model, call)().__enter__()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_what_was_saved_loads_onto_the_base(trained, tmp_path, dtype):
    model, _, _ = trained(dtype=dtype)
    model.save_pretrained(tmp_path)
    loaded = SeftModel.from_pretrained(make_llama(dtype), tmp_path)
    for name, parameter in model.named_parameters():
        assert torch.equal(loaded.get_parameter(name), parameter), name
    for name, layer in model.seft_layers.items():
        for ours, theirs in zip(layer.topology, loaded.seft_layers[name].topology, strict=True):
            assert torch.equal(ours, theirs)
            assert ours.dtype == theirs.dtype
    assert not any(parameter.requires_grad for parameter in loaded.parameters())
    assert loaded.evolution_log == model.evolution_log
    lines = (tmp_path / "evolution.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == model.evolution_log
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "evolution.jsonl",
        "model.safetensors",
        "seft_config.json",
    ]


@pytest.mark.parametrize(
    ("stop", "options"),
    [
        (8, {}),
        (11, {}),  # inside a window
        (1, {"moments": "seeded"}),  # inside the window of the first selection
        (1, {"init": "replaced", "moments": "seeded", "mask": "free"}),
        (2, {"init": "replaced", "growth": "random"}),
        (11, {"moments": "seeded", "candidates": 3}),
        (6, {"stagger": True, "growth": "random"}),
    ],
)
def test_a_training_taken_up_again_equals_one_that_never_stopped(
    trained, tokens, tmp_path, stop, options
):
    whole, _, _ = trained(steps=16, **options)
    part, optimizer, _ = trained(steps=stop, **options)
    part.save_pretrained(tmp_path / "model")
    torch.save(optimizer.state_dict(), tmp_path / "optimizer.pt")

    model = SeftModel.from_pretrained(make_llama(), tmp_path / "model", is_trainable=True)
    optimizer = adamw(model)
    optimizer.load_state_dict(torch.load(tmp_path / "optimizer.pt"))
    evolver = seft.Evolver(model, total_steps=20, step=stop)
    train(model, tokens, optimizer, evolver, range(stop + 1, 17))
    for name, parameter in whole.named_parameters():
        assert torch.equal(model.get_parameter(name), parameter), name
    without_time = [
        [{k: v for k, v in entry.items() if k != "seconds"} for entry in m.evolution_log]
        for m in (whole, model)
    ]
    assert without_time[0] == without_time[1]


@pytest.mark.parametrize("stop", [1, 7])  # inside the window of the first selection, and of 8
@pytest.mark.parametrize("moments", ["reset", "seeded"])
def test_a_new_training_of_a_saved_delta_starts_with_windows_of_its_own(
    trained, tokens, tmp_path, stop, moments
):
    part, _, _ = trained(steps=stop, moments=moments, drop_fraction=0.5)
    assert all(layer.window for layer in part.seft_layers.values())
    part.save_pretrained(tmp_path)
    states = []
    for forget in (False, True):
        model = SeftModel.from_pretrained(make_llama(), tmp_path, is_trainable=True)
        if forget:
            for layer in model.seft_layers.values():
                layer.window = None
        optimizer, evolver = adamw(model), seft.Evolver(model, total_steps=20)
        train(model, tokens, optimizer, evolver, range(1, 9))
        states.append(model.state_dict())
        for layer in model.seft_layers.values():
            assert (optimizer.state[layer.delta]["ages"] >= 0).all()
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[1])
    assert all(values.isfinite().all() for values in states[0].values())


def test_a_new_training_does_not_replace_what_was_trained(trained, tokens):
    model, optimizer, _ = trained(init="replaced", mask="free", drop_fraction=0.2)
    before = {name: layer.indices.clone() for name, layer in model.seft_layers.items()}
    model.evolution_log.clear()
    train(model, tokens, optimizer, seft.Evolver(model, total_steps=20), range(1, 5))
    assert {entry["step"] for entry in model.evolution_log} == {4}
    for name, layer in model.seft_layers.items():
        kept = int(torch.isin(layer.indices, before[name]).sum())
        assert kept >= 0.8 * len(layer.delta)


def test_further_modules_train_and_are_saved(trained, tokens, tmp_path):
    model, _, _ = trained(modules_to_save=["lm_head", "input_layernorm", "embed_tokens"])
    base = make_llama()
    trained_whole = {n for n, p in model.named_parameters() if p.requires_grad and "delta" not in n}
    assert len(trained_whole) == 4
    for name in trained_whole:
        assert not torch.equal(model.get_parameter(name), base.get_parameter(name))
    model.save_pretrained(tmp_path)
    loaded = SeftModel.from_pretrained(make_llama(), tmp_path)
    with torch.no_grad():
        assert torch.equal(model(input_ids=tokens).logits, loaded(input_ids=tokens).logits)


def pruned_otherwise():
    model = make_llama()
    model.model.layers[1].mlp.up_proj.weight.data.mul_(-1)
    return model


def with_rows_swapped():
    model = make_llama()
    weight = model.model.layers[1].mlp.up_proj.weight.data
    weight.copy_(weight.flip(0))
    return model


def transposed():
    model = make_llama()
    weight = model.model.layers[1].self_attn.q_proj.weight.data
    weight.copy_(weight.t().clone())
    return model


def of_another_shape():
    return LlamaForCausalLM(type(make_llama().config)(**SMALLER))


SMALLER = {
    "vocab_size": 32,
    "hidden_size": 8,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
}


@pytest.mark.parametrize(
    ("base", "message"),
    [
        (pruned_otherwise, r"saved for another base: .* model.layers.1.mlp.up_proj were"),
        (with_rows_swapped, r"saved for another base: .* model.layers.1.mlp.up_proj were"),
        (transposed, r"saved for another base: .* model.layers.1.self_attn.q_proj were"),
        (of_another_shape, r"saved for another base: .* model.layers.0.self_attn.q_proj were"),
        (lambda: make_llama(torch.float16), "saved for another base"),
    ],
)
def test_another_base_is_refused_and_left_alone(trained, tmp_path, base, message):
    trained()[0].save_pretrained(tmp_path)
    model = base()
    before = [parameter.detach().clone() for parameter in model.parameters()]
    with pytest.raises(ValueError, match=message) as error:
        SeftModel.from_pretrained(model, tmp_path)
    assert "\n" not in str(error.value)
    assert type(model) is LlamaForCausalLM
    assert all(map(torch.equal, before, model.parameters()))


def test_a_fingerprint_is_of_bits_and_their_places():
    model = make_llama()
    weight = model.model.layers[1].mlp.up_proj.weight.data
    weight[weight == 0] = -0.0
    bits = [int.from_bytes(pack("<f", value), "little", signed=True) for value in weight.flatten()]
    bits = [0 if value == -(2**31) else value for value in bits]
    placed = sum(place * value for place, value in enumerate(bits))
    expected = (*weight.shape, sum(value != 0 for value in bits), sum(bits), placed)
    for storage in seft.storage.STORAGES:
        wrapped = get_seft_model(deepcopy(model), SeftConfig(density=0.1, storage=storage))
        assert wrapped.seft_layers["model.layers.1.mlp.up_proj"].fingerprint == expected


def test_a_delta_from_before_places_counted_loads(trained):
    model, _, _ = trained()
    state = model.state_dict()
    old = {name: t[:4] if "fingerprint" in name else t for name, t in state.items()}
    loaded = get_seft_model(make_llama(), model.seft_config)
    loaded.load_state_dict(old)
    assert all(torch.equal(loaded.state_dict()[name], values) for name, values in state.items())


def test_a_bfloat16_delta_loads_onto_the_same_base_in_float32(trained, tmp_path):
    trained(dtype=torch.bfloat16)[0].save_pretrained(tmp_path)
    loaded = SeftModel.from_pretrained(make_llama(torch.bfloat16).float(), tmp_path)
    assert all(layer.weight.dtype == torch.float32 for layer in loaded.seft_layers.values())


@pytest.mark.parametrize("storage", ["dense", "bitmask"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_cast_model_trains_on_as_one_of_the_cast_base(trained, tokens, tmp_path, dtype, storage):
    model, optimizer, evolver = trained(storage=storage)
    deltas = {name: layer.delta.detach().clone() for name, layer in model.seft_layers.items()}
    model.to(dtype)
    for steps in (range(0), range(15, 18)):
        train(model, tokens, optimizer, evolver, steps)
        model.save_pretrained(tmp_path)
        base = make_llama().to(dtype)
        loaded = SeftModel.from_pretrained(base, tmp_path)
        for name, layer in model.seft_layers.items():
            assert layer.delta.dtype == torch.float32
            assert steps or torch.equal(layer.delta, deltas[name])
            assert layer.weight.dtype == dtype
            assert torch.equal(layer.weight, loaded.seft_layers[name].weight)
            assert layer.structural_entries == loaded.seft_layers[name].budget


def test_a_pickled_model_is_the_same_and_trains_on(trained, tokens):
    model, _, evolver = trained()
    evolver.close()
    copy = pickle.loads(pickle.dumps(model))
    assert type(copy).__mro__[1:] == type(model).__mro__[1:]
    for one in (model, copy):
        train(one, tokens, adamw(one), seft.Evolver(one, total_steps=20), range(1, 7))
    assert all(map(torch.equal, model.parameters(), copy.parameters()))
    assert type(copy.merge_and_unload()) is LlamaForCausalLM


def test_open_windows_move_with_the_model(trained):
    model, _, _ = trained(steps=3)
    for layer in model.to("meta").seft_layers.values():
        assert {layer.window.total.device, layer.window.positions.device} == {layer.delta.device}


def test_another_configuration_is_refused(trained, tmp_path):
    model, _, _ = trained()
    with pytest.raises(ValueError, match=r"delta was saved with shape .*, not"):
        get_seft_model(make_llama(), SeftConfig(density=0.05)).load_state_dict(model.state_dict())
    fewer = get_seft_model(make_llama(), SeftConfig(density=0.1, layers_to_transform=0))
    with pytest.raises(ValueError, match=r"differ in 28 tensors, the first is model\.layers\.1"):
        fewer.load_state_dict(model.state_dict())


@pytest.mark.parametrize("damage", ["truncated", "missing", "log"])
def test_damaged_files_are_named(trained, tmp_path, damage):
    trained(steps=3)[0].save_pretrained(tmp_path)
    path = tmp_path / ("evolution.jsonl" if damage == "log" else "model.safetensors")
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ValueError, match="holds no complete SEFT delta") as error:
        SeftModel.from_pretrained(make_llama(), tmp_path)
    assert "\n" not in str(error.value)


def test_open_windows_are_loaded_to_train_on_alone(trained, tmp_path):
    trained(steps=3)[0].save_pretrained(tmp_path)
    for is_trainable in (True, False):
        loaded = SeftModel.from_pretrained(make_llama(), tmp_path, is_trainable=is_trainable)
        for layer in loaded.seft_layers.values():
            assert (layer.window is not None) == is_trainable
            assert layer.delta.requires_grad == is_trainable


def test_loading_replaces_what_the_model_held(trained, tmp_path):
    early, late = trained(steps=4)[0], trained(steps=14)[0]
    late.load_state_dict(early.state_dict())
    for name, parameter in early.named_parameters():
        assert torch.equal(late.get_parameter(name), parameter)
