"""Synthetic models and data, and the conversion of what was fetched to transformers folders."""

import json
import math
import re

import gguf
import numpy as np
import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from bench.files import read_json
from bench.origin import MANIFEST, describe
from bench.sources import PathSource, SourceError, SyntheticSource, fetch, fetch_model
from bench.sources.families import FAMILIES

HIDDEN, INTERMEDIATE, HEADS, KEY_VALUE_HEADS, HEAD = 64, 96, 4, 2, 16
TEXT = "The red lamp is kept in the box of the hall."
# The model's class, its biases, whether its head is tied, and what its tokenizer puts first.
KNOWN = {
    "llama": ("LlamaForCausalLM", 0, False, "<s>"),
    "llama3": ("LlamaForCausalLM", 0, False, "<|begin_of_text|>"),
    "mistral": ("MistralForCausalLM", 0, False, "<s>"),
    "deepseek": ("LlamaForCausalLM", 0, False, "<｜begin▁of▁sentence｜>"),
    "qwen2": ("Qwen2ForCausalLM", 2 * 3, True, None),
    "opt": ("OPTForCausalLM", 2 * 8 + 1, True, "</s>"),
    "qwen3": ("Qwen3ForCausalLM", 0, True, None),
    "gemma3": ("Gemma3ForCausalLM", 0, True, "<bos>"),
    "olmo2": ("Olmo2ForCausalLM", 0, False, None),
    "phi3": ("Phi3ForCausalLM", 0, False, "<s>"),
    "gpt-neox": ("GPTNeoXForCausalLM", 2 * 6 + 1, False, None),
}


def synthetic(**changes) -> SyntheticSource:
    return SyntheticSource(**{"source": "synthetic", "articles": 4, "items": 20} | changes)


def refusal(source, out) -> str:
    """The one line that a source is refused with; nothing is made of it."""
    with pytest.raises(SourceError) as error:
        fetch_model(source, out)
    assert "\n" not in str(error.value)
    assert not out.exists()
    return str(error.value)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "synthetic"
    fetch_model(synthetic(), folder)
    return folder


def test_a_family_is_what_it_is_known_as(family):
    model = AutoModelForCausalLM.from_pretrained(family)
    tokenizer = AutoTokenizer.from_pretrained(family)
    biases = [name for name, _ in model.named_parameters() if name.endswith("bias")]
    tied = model.get_output_embeddings().weight is model.get_input_embeddings().weight
    first = tokenizer.decode(tokenizer(TEXT).input_ids[0])
    start = first if first == tokenizer.bos_token else None
    assert (type(model).__name__, len(biases), tied, start) == KNOWN[family.name]
    assert model.dtype == torch.bfloat16


def test_every_text_has_tokens_of_a_family(family):
    model = AutoModelForCausalLM.from_pretrained(family)
    tokenizer = AutoTokenizer.from_pretrained(family)
    text = f"{TEXT}\n\n{TEXT.upper()} Ça, 木?"
    ids = tokenizer(text, return_tensors="pt").input_ids
    assert tokenizer.decode(ids[0], skip_special_tokens=True) == text
    assert 400 < len(tokenizer) <= 512
    rows = len(tokenizer) + FAMILIES[family.name].spare
    assert model(ids).logits.shape == (1, ids.shape[1], rows)
    assert model.config.eos_token_id == tokenizer.eos_token_id is not None


def test_weights_are_readable_by_the_group(folder):
    mode = (folder / "config.json").stat().st_mode
    assert (folder / "model.safetensors").stat().st_mode == mode


def test_synthetic_model_depends_on_the_seed_alone(folder, tmp_path):
    torch.manual_seed(1)
    again = fetch_model(synthetic(), tmp_path / "again")
    other = fetch_model(synthetic(seed=1), tmp_path / "other")
    first = read_json(folder / MANIFEST)
    assert again == first
    assert other["files"]["model.safetensors"] != first["files"]["model.safetensors"]


def test_synthetic_model_of_another_shape(tmp_path):
    shape = {"ffn_dim": 48, "num_hidden_layers": 1}
    fetch_model(synthetic(architecture="opt", shape=shape), tmp_path / "opt")
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "opt")
    assert (model.config.ffn_dim, model.config.num_hidden_layers) == (48, 1)
    assert model.config.word_embed_proj_dim == 64


@pytest.mark.parametrize(
    "shape",
    [
        {"num_attention_heads": 5},
        {"num_attention_heads": 0},
        {"hidden_act": "nope"},
        # As YAML reads 1e6.
        {"rope_parameters": {"rope_type": "default", "rope_theta": "1e6"}},
        # What another family calls it.
        {"n_layer": 1},
    ],
)
def test_shape_that_cannot_be(tmp_path, shape):
    with pytest.raises(SourceError, match="synthetic llama model") as error:
        fetch_model(synthetic(shape=shape), tmp_path / "out")
    assert "\n" not in str(error.value)
    assert list(tmp_path.iterdir()) == []


def test_unknown_architecture():
    with pytest.raises(ValidationError, match="'llama', 'llama3'"):
        synthetic(architecture="llamma")


def test_synthetic_data_depends_on_the_seed_alone(tmp_path):
    first, again, other = (
        fetch(synthetic(seed=seed), tmp_path / name)
        for seed, name in ((0, "first"), (0, "again"), (1, "other"))
    )
    assert first == again
    assert first["files"].keys() == other["files"].keys()
    assert all(first["files"][name] != other["files"][name] for name in first["files"])


def test_synthetic_sizes():
    documents = synthetic(articles=3, items=7).documents()
    titles = [
        {article["title"] for article in documents.pop(name)["data"]}
        for name in ("squad.json", "wiki.json")
    ]
    assert [len(found) for found in titles] == [3, 3]
    assert not titles[0] & titles[1]
    assert {len(document["examples"]) for document in documents.values()} == {7}


def test_synthetic_text_has_an_end():
    largest = {"articles": 160, "items": 512}
    assert len(synthetic(**largest).documents()) == 6
    for key, value in largest.items():
        with pytest.raises(ValidationError):
            synthetic(**{key: value + 1})


def test_a_local_model_is_linked(folder, tmp_path):
    manifest = fetch_model(PathSource(source="path", path=folder), tmp_path / "linked")
    assert manifest["files"] == read_json(folder / MANIFEST)["files"]
    assert (tmp_path / "linked" / "model.safetensors").resolve() == folder / "model.safetensors"
    AutoModelForCausalLM.from_pretrained(tmp_path / "linked", local_files_only=True)


@pytest.fixture
def pytorch(folder, tmp_path):
    """The model, its weights in two of PyTorch's own files."""
    copy = tmp_path / "pytorch"
    copy.mkdir()
    for path in folder.glob("*.json"):
        (copy / path.name).write_bytes(path.read_bytes())
    weights = load_file(folder / "model.safetensors")
    files = {name: f"pytorch_model-0000{n % 2 + 1}-of-00002.bin" for n, name in enumerate(weights)}
    for file in set(files.values()):
        torch.save({name: weights[name] for name in weights if files[name] == file}, copy / file)
    index = {"metadata": {}, "weight_map": files}
    (copy / "pytorch_model.bin.index.json").write_text(json.dumps(index))
    return PathSource(source="path", path=copy, files=["*.json", "pytorch_model*.bin"])


def test_pytorchs_own_weights_become_safetensors(folder, pytorch, tmp_path):
    manifest = fetch_model(pytorch, tmp_path / "out")
    names = {"pytorch_model-00001-of-00002.bin", "pytorch_model-00002-of-00002.bin"}
    assert set(manifest["converted_from"]) == names
    assert {name for name in manifest["files"] if "model" in name} == {
        "model-00001-of-00002.safetensors",
        "model-00002-of-00002.safetensors",
        "model.safetensors.index.json",
    }
    expected = AutoModelForCausalLM.from_pretrained(folder).state_dict()
    found = AutoModelForCausalLM.from_pretrained(tmp_path / "out").state_dict()
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_pytorchs_own_weights_may_lie_in_memory_in_any_way(folder, pytorch, tmp_path):
    second = pytorch.path / "pytorch_model-00002-of-00002.bin"
    weights = torch.load(second)
    torch.save({name: values.t().contiguous().t() for name, values in weights.items()}, second)
    fetch_model(pytorch, tmp_path / "out")
    expected = AutoModelForCausalLM.from_pretrained(folder).state_dict()
    found = AutoModelForCausalLM.from_pretrained(tmp_path / "out").state_dict()
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_pytorchs_own_weights_are_looked_at_whatever_lies_beside_them(pytorch, tmp_path):
    save_file({"scale": torch.ones(1)}, pytorch.path / "extra.safetensors")
    second = pytorch.path / "pytorch_model-00002-of-00002.bin"
    name, *_ = weights = torch.load(second)
    torch.save(weights | {name: weights[name].fill_(math.nan)}, second)
    source = pytorch.model_copy(update={"files": ["*"]})
    with pytest.raises(SourceError, match=f"{name} has values that are not finite$"):
        fetch_model(source, tmp_path / "out")


def test_pytorch_weights_that_are_none(pytorch, tmp_path):
    (pytorch.path / "pytorch_model-00002-of-00002.bin").write_bytes(b"version https://git-lfs")
    said = refusal(pytorch, tmp_path / "out")
    assert re.search(r"^pytorch_model-00002-of-00002\.bin: cannot be conv", said)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"state_dict": {"a": torch.ones(1)}}, "'state_dict' is a dict; allowed: tensors by name"),
        ([torch.ones(1)], "cannot be converted: "),
    ],
)
def test_pytorch_files_of_other_things_than_tensors(pytorch, tmp_path, content, message):
    torch.save(content, pytorch.path / "pytorch_model-00002-of-00002.bin")
    with pytest.raises(SourceError) as error:
        fetch_model(pytorch, tmp_path / "out")
    assert str(error.value).startswith(f"pytorch_model-00002-of-00002.bin: {message}")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: (f / "config.json").write_text('{"architectures": ["BertModel"]}'), "BertModel"),
        (lambda f: (f / "config.json").write_text("{}"), "causal"),
        *(
            (lambda f, text=text: (f / "config.json").write_bytes(text), f"config.json: .*{said}")
            for text, said in [
                (b"{", "no JSON"),
                (b"\xff{}", "no JSON"),
                (b"[]", "allowed keys: architectures"),
                (b'{"architectures": [null]}', "architectures.0 = None: allowed: a valid string"),
                (b'{"architectures": ["LlamaForCausalLM"], "model_type": []}', "model_type = "),
            ]
        ),
        (lambda f: (f / "config.json").unlink(), "neither config.json nor one GGUF file"),
        (lambda f: (f / "model.safetensors").unlink(), "no weights"),
        (lambda f: [path.unlink() for path in f.glob("tokenizer*")], "no tokenizer"),
    ],
)
def test_what_is_not_a_causal_model(folder, tmp_path, change, message):
    copy = tmp_path / "copy"
    copy.mkdir()
    for path in folder.iterdir():
        (copy / path.name).write_bytes(path.read_bytes())
    change(copy)
    assert re.search(message, refusal(PathSource(source="path", path=copy), tmp_path / "out"))


def write_gguf(path, tokenizer, without=(), **more) -> dict[str, np.ndarray]:
    """A quantised LLaMA of one block with tied embeddings; returns what its tensors stand for.

    Args:
        path: file to write.
        tokenizer: its tokenizer.
        without: names of tensors to leave out.
        **more: shapes of others.
    """
    random = np.random.default_rng(0)
    tokens = tokenizer.convert_ids_to_tokens(list(range(len(tokenizer))))
    shapes = {
        "token_embd": (len(tokens), HIDDEN),
        "blk.0.attn_q": (HEADS * HEAD, HIDDEN),
        "blk.0.attn_k": (KEY_VALUE_HEADS * HEAD, HIDDEN),
        "blk.0.attn_v": (KEY_VALUE_HEADS * HEAD, HIDDEN),
        "blk.0.attn_output": (HIDDEN, HEADS * HEAD),
        "blk.0.ffn_gate": (INTERMEDIATE, HIDDEN),
        "blk.0.ffn_up": (INTERMEDIATE, HIDDEN),
        "blk.0.ffn_down": (HIDDEN, INTERMEDIATE),
        "blk.0.attn_norm": (HIDDEN,),
        "blk.0.ffn_norm": (HIDDEN,),
        "output_norm": (HIDDEN,),
        **more,
    }
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name("tiny")
    writer.add_block_count(1)
    writer.add_context_length(128)
    writer.add_embedding_length(HIDDEN)
    writer.add_feed_forward_length(INTERMEDIATE)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KEY_VALUE_HEADS)
    writer.add_rope_dimension_count(HEAD)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(tokens)
    merges = json.loads(tokenizer.backend_tokenizer.to_str())["model"]["merges"]
    writer.add_token_merges([" ".join(merge) for merge in merges])
    writer.add_bos_token_id(tokenizer.bos_token_id)
    writer.add_eos_token_id(tokenizer.eos_token_id)
    writer.add_add_bos_token(False)
    dequantised = {}
    for name, shape in shapes.items():
        if name in without:
            continue
        values = random.standard_normal(shape).astype(np.float32)
        kinds = gguf.GGMLQuantizationType
        kind = kinds.F32 if len(shape) == 1 else kinds.Q8_0
        packed = gguf.quantize(values, kind)
        writer.add_tensor(f"{name}.weight", packed, raw_dtype=kind)
        dequantised[name] = gguf.dequantize(packed, kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return dequantised


def rows_of_transformers(weight: np.ndarray, heads: int) -> np.ndarray:
    """GGUF interleaves the two halves of a head's rotary dimensions; transformers does not."""
    rows = np.empty_like(weight)
    for head in range(heads):
        for half in range(2):
            for pair in range(HEAD // 2):
                rows[head * HEAD + half * HEAD // 2 + pair] = weight[head * HEAD + 2 * pair + half]
    return rows


def test_gguf_is_dequantised(tmp_path):
    fetch_model(synthetic(architecture="llama3"), tmp_path / "bytes")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "bytes")
    origin = tmp_path / "origin"
    (origin / "package").mkdir(parents=True)
    path = origin / "package" / "tiny.gguf"
    expected = write_gguf(path, tokenizer)
    source = PathSource(source="path", path=origin, files=["*.gguf"])
    manifest = fetch_model(source, tmp_path / "out")

    assert manifest["converted_from"] == {"package/tiny.gguf": describe(path)[path.name]}
    assert "model.safetensors" in manifest["files"]
    assert not list((tmp_path / "out").rglob("*.gguf"))
    assert not (tmp_path / "out" / "package").exists()

    model = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    assert model.dtype == torch.bfloat16
    assert not hasattr(model.config, "quantization_config")
    assert model.lm_head.weight is model.model.embed_tokens.weight
    block = model.model.layers[0]
    found = {
        "token_embd": model.model.embed_tokens,
        "blk.0.attn_q": block.self_attn.q_proj,
        "blk.0.attn_k": block.self_attn.k_proj,
        "blk.0.attn_v": block.self_attn.v_proj,
        "blk.0.attn_output": block.self_attn.o_proj,
        "blk.0.ffn_gate": block.mlp.gate_proj,
        "blk.0.ffn_up": block.mlp.up_proj,
        "blk.0.ffn_down": block.mlp.down_proj,
        "blk.0.attn_norm": block.input_layernorm,
        "blk.0.ffn_norm": block.post_attention_layernorm,
        "output_norm": model.model.norm,
    }
    expected["blk.0.attn_q"] = rows_of_transformers(expected["blk.0.attn_q"], HEADS)
    expected["blk.0.attn_k"] = rows_of_transformers(expected["blk.0.attn_k"], KEY_VALUE_HEADS)
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        assert torch.equal(found[name].weight, torch.from_numpy(values).bfloat16()), name

    converted = AutoTokenizer.from_pretrained(tmp_path / "out")
    assert converted(TEXT).input_ids == tokenizer(TEXT, add_special_tokens=False).input_ids
    assert converted.eos_token == tokenizer.eos_token


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"without": ["blk.0.ffn_up"]},
            r"1 of \d+ weights are missing: model\.layers\.0\.mlp\.up_proj\.weight",
        ),
        ({"rope_freqs": (8,)}, r"(\d+) numbers in its tensors, of which transformers reads (\d+)"),
    ],
    ids=["missing", "not read"],
)
def test_gguf_that_is_not_read_as_a_whole(tmp_path, changes, message):
    fetch_model(synthetic(architecture="llama3"), tmp_path / "bytes")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "bytes")
    write_gguf(tmp_path / "tiny.gguf", tokenizer, **changes)
    said = refusal(PathSource(source="path", path=tmp_path / "tiny.gguf"), tmp_path / "out")
    numbers = re.match(rf"tiny\.gguf: {message}", said).groups()
    assert not numbers or int(numbers[0]) - int(numbers[1]) == 8


@pytest.mark.parametrize(
    ("kind", "factor", "refused"),
    [("linear", 4.0, True), (None, 4.0, True), ("linear", 1.0, False), ("none", 4.0, False)],
)
def test_gguf_with_scaled_positions(tmp_path, monkeypatch, kind, factor, refused):
    class Scaled(gguf.GGUFWriter):
        def add_rope_dimension_count(self, count):
            super().add_rope_dimension_count(count)
            if kind is not None:
                self.add_rope_scaling_type(gguf.RopeScalingType(kind))
            self.add_rope_scaling_factor(factor)

    monkeypatch.setattr(gguf, "GGUFWriter", Scaled)
    fetch_model(synthetic(architecture="llama3"), tmp_path / "bytes")
    write_gguf(tmp_path / "tiny.gguf", AutoTokenizer.from_pretrained(tmp_path / "bytes"))
    source = PathSource(source="path", path=tmp_path / "tiny.gguf")
    if refused:
        said = refusal(source, tmp_path / "out")
        assert said.startswith("tiny.gguf: rope.scaling = linear, 4, which")
    else:
        fetch_model(source, tmp_path / "out")


def test_broken_gguf(tmp_path):
    (tmp_path / "broken.gguf").write_bytes(b"GGUF, or not")
    said = refusal(PathSource(source="path", path=tmp_path / "broken.gguf"), tmp_path / "out")
    assert "broken.gguf: cannot be converted" in said


def test_two_gguf_files(tmp_path):
    for name in ("a.gguf", "b.gguf"):
        (tmp_path / name).write_bytes(b"")
    source = PathSource(source="path", path=tmp_path, files=["*.gguf"])
    with pytest.raises(SourceError, match=r"nor one GGUF file \(2\)"):
        fetch_model(source, tmp_path / "out")
