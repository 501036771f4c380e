"""Sparse models in files of masks and values: layout, size, and what is no such file."""

import json
import struct

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny import bits_of, tiny_llama
from torch import nn

from seft import SeftConfig, get_seft_model
from seft.storage import pack_layers
from seft.storage.files import FILE, INDEX, load_bitmask, save_bitmask

NAME = "model.layers.0.mlp.up_proj"
MATRIX = f"{NAME}.weight"


def sparse_llama(dtype=torch.bfloat16, **changes):
    """The tiny LLaMA with 60 % of each layer's entries zero, as exactly as its shape allows."""
    model = tiny_llama(**changes).to(dtype).eval()
    with torch.no_grad():
        for block in model.model.layers:
            for layer in block.modules():
                if isinstance(layer, nn.Linear):
                    flat = layer.weight.view(-1)
                    flat[torch.arange(len(flat)) % 5 > 1] = 0
    return model


def saved(model, folder, **options):
    save_bitmask(model, folder, **options)
    return folder


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("tied", [True, False])
def test_what_is_loaded_is_bit_for_bit_what_was_saved(tmp_path, dtype, tied):
    model = sparse_llama(dtype, tie_word_embeddings=tied)
    before = bits_of(model)
    loaded = load_bitmask(saved(model, tmp_path))
    assert type(loaded) is type(model)
    assert not loaded.training
    for found in (bits_of(loaded), bits_of(model)):
        assert found.keys() == before.keys()
        assert all(torch.equal(found[name], before[name]) for name in before)
    assert (loaded.lm_head.weight is loaded.model.embed_tokens.weight) == tied
    tokens = torch.arange(8).view(1, -1)
    assert torch.equal(loaded(tokens).logits, model(tokens).logits)


def test_a_tensor_of_another_dtype_than_the_models_keeps_it(tmp_path):
    model = sparse_llama(tie_word_embeddings=True)
    model.model.norm.float().weight.data.fill_(1.0001)
    loaded = load_bitmask(saved(model, tmp_path))
    assert loaded.model.norm.weight.tolist() == model.model.norm.weight.tolist()
    assert loaded.lm_head.weight is loaded.model.embed_tokens.weight
    assert {t.dtype for t in loaded.state_dict().values()} == {torch.bfloat16, torch.float32}


def test_negative_zeros_and_what_is_no_number_are_values(tmp_path):
    model = sparse_llama()
    weight = model.get_submodule(NAME).weight.data
    weight[0, :5] = torch.tensor([-0.0, 0.0, float("nan"), float("-inf"), -0.0])
    loaded = load_bitmask(saved(model, tmp_path))
    # The patterns of IEEE 754: the sign alone, nothing, ..., the sign and the whole exponent.
    found = bits_of(loaded)[MATRIX][0, :5].tolist()
    assert [found[0], found[1], found[3], found[4]] == [-(2**15), 0, 0xFF80 - 2**16, -(2**15)]
    assert torch.equal(bits_of(loaded)[MATRIX], weight.view(torch.int16))


def test_the_layout_is_the_documented_one(tmp_path):
    model = sparse_llama()
    tensors = load_file(saved(model, tmp_path) / FILE)
    weight = model.get_submodule(NAME).weight
    rows, columns = weight.shape
    assert (rows, columns) == (24, 16)
    bits, values = tensors[f"{MATRIX}.bits"].tolist(), iter(tensors[f"{MATRIX}.values"].tolist())
    for row in range(rows):
        for column in range(columns):
            kept = bits[row][column // 8] >> column % 8 & 1
            assert weight[row, column].item() == (next(values) if kept else 0)
    assert next(values, None) is None
    # What is not sparse is as it was.
    assert torch.equal(tensors["model.embed_tokens.weight"], model.model.embed_tokens.weight)
    assert MATRIX not in tensors


@pytest.mark.parametrize("tied", [True, False])
def test_the_file_is_as_large_as_masks_and_values(tmp_path, tied):
    # Widths that are no multiples of 8 take whole bytes a row.
    model = sparse_llama(hidden_size=20, intermediate_size=30, tie_word_embeddings=tied)
    rest = (1 if tied else 2) * 32 * 20 + (2 * 2 + 1) * 20
    bits = 2 * (4 * 20 * 3 + 2 * 30 * 3 + 20 * 4)
    values = 2 * (4 * 20 * 20 + 3 * 20 * 30) * 2 // 5
    raw = (saved(model, tmp_path) / FILE).read_bytes()
    (header,) = struct.unpack("<Q", raw[:8])
    assert len(raw) == 8 + header + 2 * rest + bits + 2 * values


def test_a_layer_that_is_60_percent_sparse_takes_46_percent(tmp_path):
    model = sparse_llama(hidden_size=40, intermediate_size=80)
    tensors = load_file(saved(model, tmp_path) / FILE)
    packed = sum(tensors[f"{MATRIX}.{part}"].nbytes for part in ("bits", "values"))
    assert packed / model.get_submodule(NAME).weight.nbytes == 0.4 + 1 / 16


def test_what_would_not_be_smaller_stays_as_it_is(tmp_path):
    # A bit of 16 for the mask: from 1 zero in 16 on it pays.
    model = tiny_llama().to(torch.bfloat16)
    for name, zeros in (("q_proj", 1), ("k_proj", 2)):
        layer = getattr(model.model.layers[0].self_attn, name)
        layer.weight.data[:, :zeros] = 0
    names = load_file(saved(model, tmp_path) / FILE).keys()
    packed = {name.rpartition(".")[0] for name in names if name.endswith(".bits")}
    assert packed == {"model.layers.0.self_attn.k_proj.weight"}


def test_a_model_above_the_size_of_a_shard_is_in_several_files(tmp_path):
    model = sparse_llama()
    folder = saved(model, tmp_path, max_shard_size=2000)
    index = json.loads((folder / INDEX).read_text())
    files = sorted(path.name for path in folder.glob("*.safetensors"))
    assert sorted(set(index["weight_map"].values())) == files
    assert len(files) > 2
    assert not (folder / FILE).exists()
    for name in files:
        tensors = load_file(folder / name)
        assert sum(tensor.nbytes for tensor in tensors.values()) <= 2000
        assert {index["weight_map"][key] for key in tensors} == {name}
    expected, found = bits_of(model), bits_of(load_bitmask(folder))
    assert all(torch.equal(expected[name], found[name]) for name in expected)


def test_settings_of_generation_travel_too(tmp_path):
    model = sparse_llama()
    model.generation_config.max_new_tokens = 7
    assert load_bitmask(saved(model, tmp_path)).generation_config.max_new_tokens == 7


def refusal(folder) -> str:
    with pytest.raises(ValueError, match="no whole model as bit masks: ") as error:
        load_bitmask(folder)
    (line,) = str(error.value).splitlines()
    assert line.startswith(str(folder))
    return line


def rewritten(folder, change, metadata=None):
    tensors = load_file(folder / FILE)
    change(tensors)
    save_file(tensors, folder / FILE, metadata or {"bitmask": "1"})
    return folder


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop(f"{MATRIX}.bits"), f"{MATRIX}, or a part of it, is missing"),
        (lambda t: t.pop("model.norm.weight"), "model.norm.weight, or a part of it, is missing"),
        (lambda t: t.update(more=torch.ones(1)), "more: the model has no place for it"),
        (
            lambda t: t.update({f"{MATRIX}.bits": torch.ones(24, 3, dtype=torch.uint8)}),
            f"{MATRIX}.bits is (24, 3), not (24, 2)",
        ),
        # A bit more than there are values.
        (lambda t: t[f"{MATRIX}.bits"][0].bitwise_or_(4), f"{MATRIX}.values is (154,), not (155,)"),
        (
            lambda t: t.update({"model.norm.weight": torch.ones(3)}),
            "model.norm.weight is (3,), not (16,)",
        ),
    ],
)
def test_tensors_that_are_not_the_models_are_named(tmp_path, change, message):
    assert refusal(rewritten(saved(sparse_llama(), tmp_path), change)).endswith(message)


def test_a_damaged_or_foreign_folder_is_one_line(tmp_path):
    assert refusal(tmp_path / "nowhere").endswith(f"{FILE} is not there")
    tiny_llama().save_pretrained(tmp_path / "plain")
    assert refusal(tmp_path / "plain").endswith(f"{FILE} is not there")
    folder = saved(sparse_llama(), tmp_path / "packed")
    rewritten(folder, lambda tensors: None, {"bitmask": "2"})
    assert refusal(folder).endswith("metadata.bitmask = '2': allowed: '1'")
    rewritten(folder, lambda tensors: None, {"format": "pt"})
    assert "metadata.bitmask = None" in refusal(folder)
    whole = (folder / FILE).read_bytes()
    for damaged in (whole[:-1], whole[:20], b"", b"not safetensors"):
        (folder / FILE).write_bytes(damaged)
        assert f"{FILE}: " in refusal(folder)
    folder = saved(sparse_llama(), tmp_path / "packed")
    (folder / "config.json").write_text("{")
    assert "config.json" in refusal(folder)


def test_a_damaged_index_or_a_lost_shard_is_one_line(tmp_path):
    folder = saved(sparse_llama(), tmp_path, max_shard_size=2000)
    index = (folder / INDEX).read_text()
    for damaged in ("{", "[]", "{}", '{"metadata": {}, "weight_map": 3}'):
        (folder / INDEX).write_text(damaged)
        assert f"{INDEX}: no index" in refusal(folder)
    (folder / INDEX).write_text('{"metadata": {"bitmask": "1"}, "weight_map": {"a": "../a"}}')
    assert "../a is not there" in refusal(folder)
    (folder / INDEX).write_text(index)
    lost = min(folder.glob("bitmask-*"))
    lost.unlink()
    assert refusal(folder).endswith(f"{lost.name} is not there")


def test_what_is_not_plain_is_not_saved(tmp_path):
    unmerged = get_seft_model(sparse_llama(), SeftConfig(density=0.1))
    for model, kind in ((unmerged, "SeftLinear"), (pack_layers(sparse_llama(), [NAME]), "Bitmask")):
        with pytest.raises(ValueError, match=rf"_proj \({kind}.* merge, unpack or"):
            save_bitmask(model, tmp_path / "packed")
    assert not (tmp_path / "packed").exists()


def test_transformers_alone_refuses_the_folder(tmp_path):
    folder = saved(sparse_llama(), tmp_path)
    with pytest.raises(OSError, match="no file named"):
        type(tiny_llama()).from_pretrained(folder, local_files_only=True)
