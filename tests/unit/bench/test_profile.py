"""The profile: bytes against their formulas, and the table."""

import math
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import torch
from tiny import tiny_llama
from transformers import LlamaForCausalLM

from baselines.pruning import prunable_layers, prune, sparsity_report
from bench.files import UnreadableError
from bench.models.bases import save_base
from bench.origin import MANIFEST
from bench.records.profiles import COLUMNS, PARTS, WEIGHTS, read_profile
from bench.tools.measured_training import Settings, load, measure
from bench.tools.profile import (
    check_base,
    main,
    parse,
    parser_of_arguments,
    settings_of,
    table,
)

RANK = 2


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """A pruned model of one block, in float32."""
    model = tiny_llama(vocab_size=64, hidden_size=40, intermediate_size=56, num_hidden_layers=1)
    prune(model, "magnitude", sparsity=0.6)
    folder = tmp_path_factory.mktemp("base")
    model.save_pretrained(folder)
    return folder


def layers(base):
    model = LlamaForCausalLM.from_pretrained(base)
    return model, [layer.weight for layer in prunable_layers(model).values()]


def settings(base, method, **changes) -> Settings:
    common = {
        "model": str(base),
        "shape": None,
        "sparsity": 0.6,
        "length": 16,
        "batch": 2,
        "warmup": 2,
        "steps": 2,
        "checkpointing": False,
        "device": "cpu",
        "dtype": "float32",
        "threads": torch.get_num_threads(),
    }
    return Settings(method=method, **common | changes)


def test_bytes_of_lora_are_those_of_its_formula(base):
    model, weights = layers(base)
    count = sum(RANK * sum(weight.shape) for weight in weights)
    found = measure(settings(base, "lora", options={"rank": RANK}))
    assert found["trainable_parameters"] == count
    # The rotary frequencies are a buffer of the model's.
    assert found["weights_bytes"] == sum(t.nbytes for t in [*model.parameters(), *model.buffers()])
    assert found["trainable_state_bytes"] == 4 * count
    # Two moments of each number, and a step count of each of the two matrices of a layer.
    assert found["optimizer_bytes"] == 8 * count + 4 * 2 * len(weights)
    assert (found["evolving_seconds"], found["evolving_share"]) == (0, 0)


@pytest.mark.parametrize("storage", ["dense", "bitmask"])
def test_bytes_of_seft_are_those_of_its_formula(base, storage):
    model, weights = layers(base)
    count = sum(RANK * sum(weight.shape) for weight in weights)
    options = {
        "match_rank": RANK,
        "mask": "fixed",
        "init": "gradient",
        "evolve_every": 9,
        "accumulate_steps": 2,
        "stagger": False,
        "storage": storage,
    }
    found = measure(settings(base, "seft", options=options))
    whole = sum(t.nbytes for t in [*model.parameters(), *model.buffers()])
    if storage == "dense":
        assert found["weights_bytes"] == whole
    else:
        packed = sum(
            4 * int(w.count_nonzero()) + len(w) * math.ceil(w.shape[1] / 8) + 4 * len(w)
            for w in weights
        )
        assert found["weights_bytes"] == whole - sum(w.nbytes for w in weights) + packed
    # Delta, position and base weight of each entry; packed, its place among the values too.
    assert found["trainable_state_bytes"] == (12 if storage == "dense" else 16) * count
    # Two moments and a generation of each entry, and of each layer the age of the one there is.
    assert found["optimizer_bytes"] == (8 + 1) * count + 4 * len(weights)
    assert found["evolving_seconds"] > 0
    assert found["evolving_share"] >= found["evolving_seconds"] / (9 * found["step_seconds"])


def test_bytes_of_reconstruction_are_those_of_its_formula(base):
    model, weights = layers(base)
    count = sum(int(weight.count_nonzero()) for weight in weights)
    found = measure(settings(base, "reconstruct", options={}))
    assert found["trainable_parameters"] == count
    assert found["trainable_state_bytes"] == 4 * count
    # The base's mask: a bit a weight in whole bytes a row, and where each row begins.
    mask = sum(len(w) * (math.ceil(w.shape[1] / 8) + 4) for w in weights)
    kept = sum(t.nbytes for t in model.parameters()) - sum(w.nbytes for w in weights)
    assert found["weights_bytes"] == buffers(base) + kept + mask
    assert found["optimizer_bytes"] == 8 * count + 4 * len(weights)
    assert found["dense_bytes"] == sum(t.nbytes for t in model.parameters())


def test_a_distilling_repair_has_the_dense_model_beside(base):
    options = {"rank": RANK}
    plain = measure(settings(base, "lora", options=options))
    found = measure(settings(base, "lora", options=options | {"objective": "distill"}))
    assert (plain["dense_bytes"], found["dense_bytes"]) == (
        0,
        plain["weights_bytes"] - buffers(base),
    )
    for part in ("trainable_state_bytes", "optimizer_bytes"):
        assert found[part] == plain[part]


def buffers(base):
    return sum(t.nbytes for t in layers(base)[0].buffers())


def test_all_layers_hold_positions_when_the_timing_begins(base):
    arguments = ["--model", str(base), "--evolve-every", "4", "--accumulate-steps", "1"]
    arguments += ["--rank", str(RANK), "--steps", "1", "--dtype", "float32"]
    given = parser_of_arguments().parse_args(arguments)
    at_once, in_turn = (
        measure(settings_of(given, f"seft:mask=fixed,stagger={stagger}", 128, "dense", "off"))
        for stagger in ("false", "true")
    )
    assert in_turn["trainable_state_bytes"] == at_once["trainable_state_bytes"]
    # What a delta of each layer, float32, and its position and base weight take.
    count = sum(RANK * sum(weight.shape) for weight in layers(base)[1])
    assert in_turn["trainable_state_bytes"] >= 12 * count


@pytest.mark.parametrize("init", ["random", "gradient"])
@pytest.mark.parametrize("stagger", ["false", "true"])
def test_what_evolves_has_evolved_when_the_timing_begins(base, init, stagger):
    given = parser_of_arguments().parse_args(["--model", str(base), "--rank", str(RANK)])
    # Its own period, not the one that is given for all.
    method = f"seft:init={init},stagger={stagger},evolve_every=4,accumulate_steps=2"
    asked = settings_of(given, method, 128, "dense", "off")
    assert asked.warmup == 4 + 2
    assert measure(replace(asked, steps=1))["evolving_seconds"] > 0


def test_activations_are_what_is_saved_for_backward(base):
    found = {
        (length, checkpointing): measure(
            settings(
                base, "lora", options={"dropout": 0}, length=length, checkpointing=checkpointing
            )
        )["activations_bytes"]
        for length in (16, 32)
        for checkpointing in (False, True)
    }
    assert found[16, True] < found[16, False] < found[32, False] < 4 * found[16, False]
    # The gradient of the logits is saved either way; the last token of a sequence has none.
    assert found[16, True] > 4 * 2 * 15 * 64


def test_a_dense_model_is_pruned_first(tmp_path):
    tiny_llama(num_hidden_layers=1).save_pretrained(tmp_path)
    found = measure(settings(tmp_path, "full", options={}, sparsity=0.75))
    assert found["trainable_parameters"] == (4 * 16 * 16 + 3 * 16 * 24) // 4


def test_a_base_of_the_workflow_is_read_with_its_dense_model(base, tmp_path):
    (base / MANIFEST).write_text("{}")
    pruned = LlamaForCausalLM.from_pretrained(base)
    prune(pruned, "magnitude", sparsity=0.8)
    save_base(pruned, tmp_path, dense=base, pruner="magnitude")
    wanted = settings(tmp_path, "full", options={})
    model = load(wanted, torch.device("cpu"), torch.float32)
    for ours, theirs in zip(model.parameters(), pruned.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_a_base_is_read_where_it_was_made(base, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (base / MANIFEST).write_text("{}")
    Path("dense").symlink_to(base)
    Path("here").mkdir()
    save_base(LlamaForCausalLM.from_pretrained(base), "here", dense="dense", pruner="magnitude")
    given = parser_of_arguments().parse_args(["--model", "here"])
    assert given.model == Path("here")
    check_base(given.model)
    Path("dense").unlink()
    with pytest.raises(SystemExit):
        main(["--methods", "full", "--model", "here"])
    error = capsys.readouterr().err
    assert "here: of dense, which is not there; run this where the base was made" in error


def test_a_shape_needs_no_files():
    tiny = {"vocab_size": 64, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2}
    tiny["num_attention_heads"] = 2
    wanted = settings(None, "lora", options={}, model=None, shape=tiny)
    model = load(wanted, torch.device("cpu"), torch.bfloat16)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.bfloat16}
    assert sparsity_report(model).sparsity == pytest.approx(0.6, abs=0.01)
    assert measure(wanted)["peak_bytes"] > 0


def test_two_methods_are_measured_drawn_and_shown(base, tmp_path, capsys):
    csv, png = tmp_path / "profile.csv", tmp_path / "profile.png"
    arguments = f"""--methods lora seft:candidates=3 --model {base} --length 16 8 --steps 2
        --rank {RANK} --accumulate-steps 2 --dtype float32 --device cpu --repeat 1
        --csv {csv} --figure {png}"""
    main(arguments.split())
    printed = capsys.readouterr().out
    assert png.read_bytes().startswith(b"\x89PNG")
    measured = read_profile(csv)
    assert measured["device"].unique().size == 1
    assert measured["device"][0].endswith("1 thread, float32")
    found = table(measured).set_index(["method", "length"])
    # Under one condition after the other.
    methods = ["lora", "seft:candidates=3"]
    assert [(method, length) for length in (16, 8) for method in methods] == list(found.index)
    assert found.loc["lora", ["step_ratio", "peak_ratio"]].eq(1).all(axis=None)
    assert found["trainable_parameters"].nunique() == 1
    assert (found["evolving_percent"] > 0).tolist() == [False, True] * 2
    for (_, length), row in found.iterrows():
        assert row["tokens_per_second"] == pytest.approx(2 * length / row["step_seconds"])
        assert row["weights_mib"] > 0
    for column in found.columns:
        assert column in printed


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda rows: rows.drop(columns="peak_bytes"), "no profile: without peak_bytes"),
        (lambda rows: rows.assign(device=["a", "b"]), "device = a, b; allowed: one in all rows"),
        (lambda rows: rows.assign(peak_bytes=[1, 0]), "peak_bytes: allowed: numbers above 0"),
        (lambda rows: rows.assign(repetition=0), "each method, condition and repetition once"),
    ],
)
def test_a_profile_of_another_form_is_refused(tmp_path, change, message):
    rows = pd.DataFrame([dict.fromkeys(COLUMNS, 1) | {"repetition": n} for n in range(2)])
    path = tmp_path / "profile.csv"
    rows.to_csv(path, index=False)
    assert len(read_profile(path)) == 2
    change(rows).to_csv(path, index=False)
    with pytest.raises(UnreadableError, match=message) as refused:
        read_profile(path)
    assert str(path) in str(refused.value)


def test_the_table_holds_medians_spreads_and_ratios():
    def row(method, storage, seconds, peak):
        return {
            "method": method,
            "length": 15,
            "storage": storage,
            "checkpointing": "off",
            "trainable_parameters": 10,
            "tokens": 30,
            "step_seconds": seconds,
            "peak_bytes": peak * 2**20,
            "evolving_seconds": 0.5,
            "evolving_share": 0.02,
            **dict.fromkeys([WEIGHTS, *PARTS], 2**20),
        }

    measured = [
        *(row("lora", "dense", seconds, 8) for seconds in (2, 5, 3)),
        *(row("seft", "dense", 1.5, peak) for peak in (7, 4, 6)),
        row("lora", "bitmask", 6, 2),
        row("seft", "bitmask", 3, 3),
        row("full", "dense", 9, 16),
    ]
    found = table(pd.DataFrame(measured)).set_index(["method", "storage"])
    assert found["step_seconds"].tolist() == [3, 1.5, 6, 3, 9]
    assert found["step_seconds_spread"].tolist() == [3, 0, 0, 0, 0]
    assert found["peak_mib"].tolist() == [8, 6, 2, 3, 16]
    assert found["peak_mib_spread"].tolist() == [0, 3, 0, 0, 0]
    assert found["tokens_per_second"].tolist() == [10, 20, 5, 10, 30 / 9]
    assert found["step_ratio"].tolist() == [1, 0.5, 1, 0.5, 3]
    assert found["peak_ratio"].tolist() == [1, 0.75, 1, 1.5, 2]
    assert found["evolving_percent"].tolist() == [2] * 5


def test_a_method_that_fails_is_named_and_the_others_are_shown(base, capsys):
    arguments = f"--methods seft:match_rank=999 lora --model {base} --steps 1 --repeat 1 --length 8"
    with pytest.raises(SystemExit) as ended:
        main(arguments.split())
    assert ended.value.code == 1
    printed, said = capsys.readouterr()
    assert "lora" in printed
    assert "seft" not in printed
    *_, last = said.splitlines()
    assert last.startswith("seft:match_rank=999 8 dense off: ValueError: ")
    assert "fewer than its" in last


def test_options_of_a_method_are_read_as_yaml():
    assert parse("seft:stagger=true,candidates=4,init=random") == (
        "seft",
        {"stagger": True, "candidates": 4, "init": "random"},
    )
    assert parse("spp") == ("spp", {})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--methods lara", "unknown repair 'lara'; known: "),
        ("--methods none", "none: it does not train"),
        ("--methods seft:stagger", "'stagger' must be KEY=VALUE"),
        ("--methods seft:candidates=1", "candidates=1 must be a whole number from 3"),
        ("--methods lora:storage=zip", "repair 'lora': storage = 'zip'"),
        ("--methods full --storage bitmask", "none of full can hold its base as a bitmask"),
        ("--length 8 0", "argument --length: '0' must be a whole number from 1"),
        ("--figure a.gif", "argument --figure: 'a.gif' must end in .png, .svg, .pdf"),
        ("--steps 0", "argument --steps: '0' must be a whole number from 1"),
        ("--sparsity 60", "argument --sparsity: '60' must be a number above 0 and below 1"),
        ("--model nowhere", "nowhere: no model; run `make table1`, or give --model"),
        ("--shape gpt5", "argument --shape: invalid choice: 'gpt5'"),
        ("--evolve-every 3", "accumulate_steps=5 must be a whole number from 1 to evolve_every=3"),
    ],
)
def test_a_bad_argument_is_one_line(base, arguments, message, capsys):
    with pytest.raises(SystemExit) as ended:
        main([*f"--methods lora seft --model {base}".split(), *arguments.split()])
    error = capsys.readouterr().err
    assert ended.value.code == 1
    assert message in error
    assert error.count("\n") == 1
