"""What zeros are worth at inference: bytes against arithmetic, equal logits, and the table."""

from math import ceil

import pandas as pd
import pytest
import torch
from cells_on_disk import Workspace, logits
from tiny import tiny_llama
from torch import nn

from baselines.pruning import prunable_layers, prune
from bench.models.loading import load_model
from bench.tools.inference import STORED, answer, main, measure, packed, table
from seft.storage import BitmaskLinear

PROMPT = torch.arange(6).view(1, -1)


@pytest.fixture(scope="module")
def models() -> dict[str, nn.Module]:
    dense, zeros = (tiny_llama(initializer_range=0.3).bfloat16().eval() for _ in range(2))
    prune(zeros, "magnitude", sparsity=0.6)
    return dict(zip(STORED, (dense, zeros, packed(zeros)), strict=True))


def test_bytes_are_those_of_masks_and_values(models):
    weights, _ = measure(models, PROMPT, tokens=2, repeat=1)
    matrices = [layer.weight for layer in prunable_layers(models["zeros"]).values()]
    # Embedding and head of 32 tokens, two norms a block and one more; the frequencies, in float32.
    rest = 2 * (2 * 32 * 16 + 5 * 16) + held_frequencies(models["dense"])
    whole = rest + 2 * 2 * (4 * 16 * 16 + 3 * 16 * 24)
    values = sum(int(matrix.count_nonzero()) for matrix in matrices)
    masks = sum(len(matrix) * ceil(matrix.shape[1] / 8) for matrix in matrices)
    offsets = 4 * sum(map(len, matrices))
    expected = (whole, whole, rest + 2 * values + masks + offsets)
    assert weights == dict(zip(STORED, expected, strict=True))


def held_frequencies(model) -> int:
    return sum(buffer.nbytes for buffer in model.buffers())


def test_only_the_pruned_layers_are_packed_and_nothing_else_is_copied(models):
    zeros, bitmask = models["zeros"], models["bitmask"]
    names = {name for name, m in bitmask.named_modules() if isinstance(m, BitmaskLinear)}
    assert names == prunable_layers(zeros).keys()
    assert not any(isinstance(module, BitmaskLinear) for module in zeros.modules())
    own = {id(parameter) for parameter in zeros.parameters()}
    assert all(id(parameter) in own for parameter in bitmask.parameters())


@pytest.mark.parametrize("name", STORED)
def test_what_is_decoded_is_what_a_pass_over_the_whole_text_says(models, name):
    *_, found = answer(models[name], PROMPT, tokens=4)
    assert found.shape == (5, 32)
    text = torch.cat([PROMPT[0], found[:4].argmax(dim=1)]).view(1, -1)
    with torch.no_grad():
        expected = models["zeros" if name == "bitmask" else name](text, use_cache=False).logits
    torch.testing.assert_close(found, expected[0, 5:], rtol=0.05, atol=0.05)


def test_packed_layers_answer_as_zeros_do_and_the_dense_model_does_not(models):
    dense, zeros, bitmask = (answer(models[name], PROMPT, tokens=4)[-1] for name in STORED)
    assert torch.equal(bitmask, zeros)
    assert not torch.equal(dense, zeros)


def test_other_logits_are_refused(models):
    with pytest.raises(ValueError, match=r"^bitmask: logits are up to .* from those of zeros$"):
        measure(models | {"bitmask": models["dense"]}, PROMPT, tokens=1, repeat=1)


def test_each_is_measured_in_turn(models):
    _, measured = measure(models, PROMPT, tokens=1, repeat=2)
    assert measured["stored"].tolist() == [*STORED, *STORED]


def test_the_table_holds_medians_ends_and_ratios():
    rates = {"dense": (4, 1, 2), "zeros": (3, 2, 1), "bitmask": (0.5, 1, 2)}
    rows = [
        {"stored": name, "prefill": 100 * rate, "decode": rate}
        for name, mine in rates.items()
        for rate in mine
    ]
    weights = {"dense": 4 * 2**20, "zeros": 4 * 2**20, "bitmask": 2 * 2**20}
    found = table(weights, pd.DataFrame(rows))
    assert [*found.index] == [*STORED]
    assert found["weights_mib"].tolist() == [4, 4, 2]
    assert found["weights_ratio"].tolist() == [1, 1, 0.5]
    assert found["prefill"].tolist() == [200, 200, 100]
    assert found["decode_ratio"].tolist() == [1, 1, 0.5]
    assert found["decode_low"].tolist() == [1, 1, 0.5]
    assert found["decode_high"].tolist() == [4, 3, 2]


@pytest.fixture
def workspace(tmp_path, dense, monkeypatch):
    return Workspace(tmp_path, dense, monkeypatch)


@pytest.mark.parametrize("repair", ["none", "seft"])
def test_a_cell_is_measured(workspace, repair, capsys, monkeypatch):
    taken = {}

    def spied(models, *arguments):
        taken.update({name: logits(model) for name, model in models.items()})
        return measure(models, *arguments)

    monkeypatch.setattr("bench.tools.inference.measure", spied)
    cell = workspace.cell(repair)
    main(f"{cell} --prompt 5 --tokens 3 --repeat 2 --device cpu".split())
    assert torch.equal(taken["zeros"], workspace.evaluated)
    assert torch.equal(taken["bitmask"], workspace.evaluated)
    unpruned = load_model(workspace.model, torch.device("cpu"), torch.bfloat16)
    assert torch.equal(taken["dense"], logits(unpruned))
    lines = capsys.readouterr().out.splitlines()
    names = [line.split("|")[1].strip() for line in lines if line.startswith("| ")]
    assert names == ["weights", *STORED]
    assert "Zeros that are stored as numbers bring 1.0 x" in lines[-1]


def test_what_cannot_be_measured_is_one_line(workspace, capsys):
    folder = workspace.cell("none")
    for arguments, message in (
        ("results/cells/tiny", "no cell; allowed: results/cells/"),
        (f"{folder} --prompt 500 --tokens 13", "--prompt + --tokens = 513"),
        (f"{folder} --repeat 0", "'0' must be a whole number from 1"),
    ):
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main(arguments.split())
        said = capsys.readouterr().err
        assert ended.value.code == 1
        assert message in said
        assert said.count("\n") == 1
