"""Models that are not whole are refused when they are fetched and when they are loaded."""

import json
import math
import shutil

import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from tokenizers.processors import TemplateProcessing
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from bench.models.loading import load_model, read_layers
from bench.sources import PathSource, SourceError, SyntheticSource, fetch_model

CPU = torch.device("cpu")
DOWN = "model.layers.1.mlp.down_proj.weight"
TIED = ("opt", "qwen2", "qwen3", "gemma3")
# What files call the head, where the model says `lm_head`.
HEADS = {"gpt-neox": "embed_out.weight"}


@pytest.fixture
def user(family, tmp_path):
    """The user's own folder: a model of each family."""
    return shutil.copytree(family, tmp_path / "user", ignore=lambda *_: ["manifest.json"])


@pytest.fixture
def llama(dense, tmp_path):
    return shutil.copytree(dense, tmp_path / "user", ignore=lambda *_: ["manifest.json"])


@pytest.fixture(scope="module")
def dense(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "llama"
    fetch_model(SyntheticSource(source="synthetic"), folder)
    return folder


def rewrite(folder, change):
    file = folder / "model.safetensors"
    save_file(change(load_file(file)), file, metadata={"format": "pt"})


def reconfigure(folder, name, **changes):
    path = folder / name
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def refusal(folder, out) -> str:
    """The line with which a folder is refused, and that nothing is left of it."""
    with pytest.raises(SourceError) as error:
        fetch_model(PathSource(source="path", path=folder), out)
    assert not out.exists()
    message = str(error.value)
    assert "\n" not in message
    assert message.startswith(f"{out}: ")
    return message.removeprefix(f"{out}: ")


def without(*names):
    return lambda tensors: {name: t for name, t in tensors.items() if name not in names}


@pytest.mark.parametrize("prefix", ["_orig_mod.", "module."])
def test_a_prefix_of_all_keys(user, tmp_path, prefix):
    count = len(load_file(user / "model.safetensors"))
    rewrite(user, lambda tensors: {f"{prefix}{name}": t for name, t in tensors.items()})
    message = refusal(user, tmp_path / "out")
    assert f"{count} tensors that the model does not take: {prefix}" in message
    weights = AutoModelForCausalLM.from_pretrained(user).state_dict()
    missing = f"{len(weights)} of {len(weights)} weights are missing: {min(weights)}, "
    assert message.startswith(missing)


def test_the_prefix_of_the_base_model_may_be_left_out(user, tmp_path):
    expected = load_model(user, CPU, torch.bfloat16).state_dict()
    rewrite(user, lambda tensors: {k.removeprefix("model."): t for k, t in tensors.items()})
    fetch_model(PathSource(source="path", path=user), tmp_path / "out")
    found = load_model(tmp_path / "out", CPU, torch.bfloat16).state_dict()
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)


@pytest.mark.parametrize(
    "kinds", [[torch.float16], [torch.float32], [torch.float16, torch.float32]]
)
def test_layers_are_read_as_the_files_have_them(llama, kinds):
    """``config.json`` says bfloat16, which rounds both."""

    def change(tensors):
        return {
            k: (t.float() * 1.001).to(kinds[i % len(kinds)])
            for i, (k, t) in enumerate(tensors.items())
        }

    rewrite(llama, change)
    stored = load_file(llama / "model.safetensors")
    layers = dict(read_layers(llama, load_model(llama, CPU, torch.float32)))
    assert len(layers) == 14
    for name, weight in layers.items():
        assert torch.equal(weight.double(), stored[f"{name}.weight"].double())


def test_a_tied_head_is_not_missing_and_any_other_is(user, family, tmp_path):
    rewrite(user, without(HEADS.get(family.name, "lm_head.weight")))
    if family.name in TIED:
        fetch_model(PathSource(source="path", path=user), tmp_path / "out")
        model = load_model(tmp_path / "out", CPU, torch.bfloat16)
        embedding = model.get_input_embeddings().weight
        assert torch.equal(model.lm_head.weight, embedding)
        stored = load_file(user / "model.safetensors")
        assert any(torch.equal(embedding, tensor) for tensor in stored.values())
    else:
        message = refusal(user, tmp_path / "out")
        assert message.endswith("weights are missing: lm_head.weight")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (without(DOWN), f"1 of 21 weights are missing: {DOWN}"),
        (
            lambda tensors: tensors | {DOWN: tensors[DOWN][:, :-1].contiguous()},
            f"1 weights are not as config.json says: {DOWN} is (64, 95), not (64, 96)",
        ),
        (
            lambda tensors: tensors | {"model.layers.0.self_attn.q_proj.bias": torch.ones(64)},
            "1 tensors that the model does not take: model.layers.0.self_attn.q_proj.bias",
        ),
        (
            lambda tensors: tensors | {"model.layers.1.self_attn.q_norm.weight": torch.ones(16)},
            "1 tensors that the model does not take: model.layers.1.self_attn.q_norm.weight",
        ),
        (
            lambda tensors: tensors | {f"{DOWN[:-7]}.lora_A.weight": torch.ones(8, 96)},
            f"1 tensors that the model does not take: {DOWN[:-7]}.lora_A.weight",
        ),
        (
            lambda tensors: (
                tensors | {"model.layers.2.mlp.down_proj.weight": tensors[DOWN].clone()}
            ),
            "1 tensors that the model does not take: model.layers.2.mlp.down_proj.weight",
        ),
        (
            lambda tensors: (
                tensors | {DOWN: tensors[DOWN].index_fill(0, torch.tensor(3), math.nan)}
            ),
            f"model.safetensors: {DOWN} has values that are not finite",
        ),
        (
            lambda tensors: (
                tensors | {DOWN: tensors[DOWN].index_fill(0, torch.tensor(3), math.inf)}
            ),
            f"model.safetensors: {DOWN} has values that are not finite",
        ),
        (
            lambda tensors: tensors | {DOWN: tensors[DOWN].to(torch.int8)},
            f"model.safetensors: {DOWN} is int8; allowed: fractions",
        ),
    ],
    ids=["missing", "shape", "bias", "norm", "adapter", "block", "nan", "inf", "codes"],
)
def test_a_tensor_that_is_not_right(llama, tmp_path, change, message):
    rewrite(llama, change)
    assert refusal(llama, tmp_path / "out") == message


def test_quantised_weights(llama, tmp_path):
    """What is loaded of them depends on the device, and on a GPU it would be codes."""
    codes = {"quant_method": "fp8", "weight_block_size": [32, 32]}
    reconfigure(llama, "config.json", quantization_config=codes)
    said = "quantization_config.quant_method = 'fp8': allowed: weights without one"
    assert refusal(llama, tmp_path / "out") == said


def test_a_tokenizer_that_ends_each_text(llama, tmp_path):
    """A context that ends is no beginning of its continuation, and what follows an end is new."""
    tokenizer = AutoTokenizer.from_pretrained(llama)
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="<s> $A </s>",
        special_tokens=[(name, tokenizer.convert_tokens_to_ids(name)) for name in ("<s>", "</s>")],
    )
    tokenizer.save_pretrained(llama)
    # Else its class makes the template, as it is told to.
    for settings in ({"tokenizer_class": "PreTrainedTokenizerFast"}, {"add_eos_token": True}):
        reconfigure(llama, "tokenizer_config.json", **settings)
        ids = AutoTokenizer.from_pretrained(llama)("the cup").input_ids
        assert (ids[0], ids[-1]) == (tokenizer.bos_token_id, tokenizer.eos_token_id)
        said = refusal(llama, tmp_path / "out")
        assert said.startswith("the tokenizer puts '</s>' behind a text; allowed: special tokens ")


def test_an_adapter_beside_the_weights(llama, tmp_path):
    """PEFT, which is installed, puts it into its own base, whatever weights lie beside it."""
    other = shutil.copytree(llama, tmp_path / "other")
    rewrite(other, lambda tensors: {name: t + 1 for name, t in tensors.items()})
    adapted = get_peft_model(AutoModelForCausalLM.from_pretrained(other), LoraConfig(r=2))
    adapted.save_pretrained(llama)
    assert (llama / "adapter_model.safetensors").exists()
    said = refusal(llama, tmp_path / "out")
    assert said.startswith("adapter_config.json: an adapter beside the weights; allowed: ")


def test_tensors_of_nothing_that_the_model_has_are_let_pass(llama, tmp_path):
    more = {"model.layers.0.self_attn.rotary_emb.inv_freq": torch.ones(8), "mtp.fc": torch.ones(2)}
    expected = load_file(llama / "model.safetensors")
    rewrite(llama, lambda tensors: tensors | more)
    fetch_model(PathSource(source="path", path=llama), tmp_path / "out")
    found = load_model(tmp_path / "out", CPU, torch.bfloat16).state_dict()
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def shard(folder):
    """Two files and an index in place of one file."""
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    files = {name: f"model-0000{1 + (name == DOWN)}-of-00002.safetensors" for name in tensors}
    for file in set(files.values()):
        part = {name: tensors[name] for name in tensors if files[name] == file}
        save_file(part, folder / file, metadata={"format": "pt"})
    index = {"metadata": {}, "weight_map": files}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return folder / files[DOWN]


def test_a_file_that_is_missing_or_lacks_what_the_index_names(llama, tmp_path):
    second = shard(llama)
    fetch_model(PathSource(source="path", path=llama), tmp_path / "whole")
    save_file({"other": torch.ones(2)}, second, metadata={"format": "pt"})
    assert f"1 of 21 weights are missing: {DOWN}" in refusal(llama, tmp_path / "out")
    second.unlink()
    message = refusal(llama, tmp_path / "out")
    assert message.startswith("cannot be loaded: ")
    assert second.name in message


def test_pytorch_files_that_lack_a_tensor(llama, tmp_path):
    tensors = load_file(llama / "model.safetensors")
    (llama / "model.safetensors").unlink()
    torch.save(without(DOWN)(tensors), llama / "pytorch_model.bin")
    source = PathSource(source="path", path=llama, files=["*.json", "*.bin"])
    with pytest.raises(SourceError, match=f"1 of 21 weights are missing: {DOWN}"):
        fetch_model(source, tmp_path / "out")


def test_a_file_that_ends_early(llama, tmp_path):
    file = llama / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    assert refusal(llama, tmp_path / "out").startswith("cannot be loaded: ")


def test_a_setting_that_cannot_be_is_named_with_its_value(llama, tmp_path):
    reconfigure(llama, "config.json", hidden_size="64")
    message = refusal(llama, tmp_path / "out")
    assert message.endswith(": Field 'hidden_size' expected int, got str (value: '64')")


def test_every_load_is_checked(llama):
    rewrite(llama, without(DOWN))
    with pytest.raises(SourceError) as error:
        load_model(llama, CPU, torch.bfloat16)
    assert str(error.value) == f"{llama}: 1 of 21 weights are missing: {DOWN}"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"model_type": "mine", "auto_map": {"AutoModelForCausalLM": "code.MineForCausalLM"}},
            "model_type is 'mine', which needs code of its repository (code.MineForCausalLM); ",
        ),
        (
            {"auto_map": {"AutoModelForCausalLM": "code.OtherForCausalLM"}},
            "model_type is 'llama', which needs code of its repository (code.OtherForCausalLM); ",
        ),
        ({"model_type": "mine"}, "model_type is 'mine'; allowed: a model that transformers "),
    ],
)
def test_code_of_a_repository_is_not_run(llama, tmp_path, monkeypatch, changes, message):
    asked = []
    monkeypatch.setattr("builtins.input", lambda *prompt: asked.append(prompt) or "y")
    (llama / "code.py").write_text("raise SystemExit('this was run')")
    reconfigure(llama, "config.json", **changes)
    assert refusal(llama, tmp_path / "out").startswith(message)
    assert not asked


def test_code_beside_a_model_that_transformers_has_is_not_needed(llama, tmp_path):
    reconfigure(llama, "config.json", auto_map={"AutoModelForCausalLM": "code.LlamaForCausalLM"})
    fetch_model(PathSource(source="path", path=llama), tmp_path / "out")
    assert type(load_model(tmp_path / "out", CPU, torch.bfloat16)).__module__.startswith("transf")


@pytest.mark.parametrize(
    ("architecture", "message"),
    [
        ("mixtral", "cannot be pruned: 2 matrices of its decoder blocks are in no nn.Linear: "),
        ("gpt2", "cannot be pruned: 4 matrices of its decoder blocks are in no nn.Linear: "),
    ],
)
def test_matrices_that_no_pruner_reaches(llama, tmp_path, architecture, message):
    rows = len(AutoTokenizer.from_pretrained(llama))
    tiny = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = AutoConfig.for_model(
        architecture, **tiny, num_key_value_heads=2, intermediate_size=24, vocab_size=rows
    )
    for name in ("model.safetensors", "config.json"):
        (llama / name).unlink()
    AutoModelForCausalLM.from_config(config).save_pretrained(llama)
    assert message in refusal(llama, tmp_path / "out")


def test_an_end_of_sequence_token_without_a_row(llama, tmp_path):
    tokenizer = AutoTokenizer.from_pretrained(llama)
    rows = load_file(llama / "model.safetensors")["model.embed_tokens.weight"].shape[0]
    # Without a row as well, and in no text.
    tokenizer.add_special_tokens({"pad_token": "<pad>"})
    tokenizer.save_pretrained(llama)
    fetch_model(PathSource(source="path", path=llama), tmp_path / "padded")
    tokenizer.add_special_tokens({"eos_token": "<|im_end|>"})
    tokenizer.save_pretrained(llama)
    assert tokenizer.eos_token_id >= rows
    assert refusal(llama, tmp_path / "out") == (
        f"token '<|im_end|>' has id {tokenizer.eos_token_id}, and the embedding {rows} rows; "
        f"allowed: ids up to {rows - 1}"
    )


def test_a_head_that_is_tied_by_its_name_alone(llama, tmp_path):
    """`transformers` leaves the two apart, and lm-eval's `HFLM` ties them again."""
    reconfigure(llama, "config.json", tie_word_embeddings=True)
    with pytest.raises(SourceError, match=r"ties lm_head\.weight to model\.embed_tokens\.weight"):
        load_model(llama, CPU, torch.float32)
    rewrite(llama, lambda t: t | {"lm_head.weight": t["model.embed_tokens.weight"].clone()})
    model = load_model(llama, CPU, torch.float32)
    assert model.lm_head.weight is model.model.embed_tokens.weight
