from collections import Counter
from dataclasses import fields

import pytest
import torch
from torch import is_tensor

import seft
from baselines.pruning import Pattern, prunable_layers
from baselines.repair import REPAIRS, build_repair


def test_the_budget_is_that_of_lora(tiny):
    counts = {}
    for name, option in {"lora": "rank", "seft": "match_rank"}.items():
        repair = tiny.build(name, **{option: 2})
        counts[name] = repair.trainable_parameters(repair.wrap(tiny.pruned_llama(), seed=0))
    assert counts["lora"] == counts["seft"] > 0


def test_the_targets_are_those_of_every_repair(tiny):
    base = tiny.pruned_llama()
    targets = list(prunable_layers(base))
    assert list(tiny.build("seft").wrap(base, seed=0).seft_layers) == targets


def test_options_and_seed_reach_the_library(tiny):
    options = {
        "match_rank": 1,
        "evolve_every": 7,
        "accumulate_steps": 3,
        "drop_fraction": 0.3,
        "schedule": "linear",
        "stop_fraction": 0.9,
        "init": "random",
        "moments": "seeded",
        "mask": "fixed",
        "stagger": False,
        "candidates": 4,
        "storage": "bitmask",
    }
    config = build_repair("seft", **options).wrap(tiny.pruned_llama(), seed=5).seft_config
    assert {name: getattr(config, name) for name in options} == options
    assert config.seed == 5


def test_on_an_nm_base_zeros_stay_or_move_inside_their_group(tiny):
    pattern, moved = Pattern.parse("2of4"), {}
    for nm in ("fixed", "evolve"):
        base = tiny.pruned_llama(pattern="2of4")
        zeros = {name: layer.weight == 0 for name, layer in prunable_layers(base).items()}
        repair = tiny.build("seft", nm=nm, pattern=pattern)
        model = repair.wrap(base, seed=0)
        tiny.train(repair, model)
        merged = prunable_layers(repair.merge(model, tiny.reprune))
        moved[nm] = any((merged[name].weight[zeros[name]] != 0).any() for name in zeros)
        for layer in merged.values():
            assert ((layer.weight.view(-1, 4) == 0).sum(dim=1) >= 2).all()
    assert moved == {"fixed": False, "evolve": True}


def test_the_librarys_own_checks_are_one_line():
    message = "^repair 'seft': accumulate_steps=5 must be a whole number from 1 to evolve_every=3 "
    with pytest.raises(ValueError, match=message) as error:
        build_repair("seft", evolve_every=3)
    assert "\n" not in str(error.value)


def test_the_options_are_those_of_the_library():
    """But for the targets, which are every repair's, and what the benchmark decides; how often
    positions evolve follows from the steps.
    """
    library = {field.name: field for field in fields(seft.SeftConfig)}
    options = REPAIRS["seft"].Options.model_fields
    elsewhere = {"target_modules", "exclude_modules", "layers_to_transform", "modules_to_save"}
    assert library.keys() - options.keys() == elsewhere | {"density", "growth", "pattern", "seed"}
    for name in (library.keys() & options.keys()) - {"match_rank", "evolve_every"}:
        assert options[name].default == library[name].default
        assert options[name].description


@pytest.mark.parametrize(
    ("name", "options", "expected"),
    [
        ("seft", {}, (60, 5, True)),
        ("seft", {"stagger": False, "evolve_every": 9, "accumulate_steps": 2}, (9, 2, False)),
        ("spiel", {}, (60, 5, True)),
        ("static", {}, None),
        ("seft", {"init": "random", "drop_fraction": 0}, None),
        ("lora", {}, None),
    ],
)
def test_what_evolves_and_how_often(name, options, expected):
    assert build_repair(name, **options).evolution_schedule == expected


@pytest.mark.filterwarnings("ignore:total_steps")
@pytest.mark.parametrize(
    "options",
    [
        {"evolve_every": 3},
        {"evolve_every": 5},
        {"evolve_every": 6},
        {"evolve_every": 10, "stagger": False},
        {"evolve_every": 9, "stagger": False},
        {"evolve_every": 5, "accumulate_steps": 5},
        {"evolve_every": 10, "stop_fraction": 1.0, "schedule": "linear", "stagger": False},
    ],
    ids=str,
)
@pytest.mark.parametrize("init", ["random", "gradient"])
def test_layers_evolve_as_often_as_is_said_beforehand(tiny, init, options):
    # Of so few deltas a usual rate rounds to none towards its end.
    repair = tiny.build("seft", drop_fraction=1.0, init=init, **options)
    model = repair.wrap(tiny.pruned_llama(), seed=0).train()
    optimizer, evolver = repair.optimizer(model), seft.Evolver(model, total_steps=12)
    for step in range(1, 13):
        model(input_ids=tiny.tokens(), labels=tiny.tokens()).loss.backward()
        optimizer.step()
        evolver.step(optimizer, step)
        optimizer.zero_grad()
    chosen = init != "random"
    layers = Counter(entry["layer"] for entry in model.evolution_log)
    assert repair.evolutions(12) == min(layers[name] - chosen for name in model.seft_layers)


def test_what_is_not_meant_to_evolve_has_no_number_of_evolutions():
    for name, options in {"static": {}, "seft": {"drop_fraction": 0}, "lora": {}}.items():
        assert build_repair(name, **options).evolutions(100) is None


def test_layers_that_gather_gradients_are_counted(tiny):
    repair = tiny.build("seft", init="gradient", evolve_every=4, accumulate_steps=2, stagger=False)
    model = repair.wrap(tiny.pruned_llama(), seed=0)
    assert repair.gathering(model) == 0
    seft.Evolver(model, total_steps=20)
    assert repair.gathering(model) == 1


@pytest.mark.parametrize("nm", ["fixed", "evolve"])
def test_gradients_gathered_on_an_nm_base_are_what_is_estimated(tiny, nm):
    start = {"init": "gradient", "match_rank": 1}
    repair = tiny.build("seft", pattern=Pattern.parse("2of4"), nm=nm, **start)
    model = repair.wrap(tiny.pruned_llama(pattern="2of4"), seed=0).train()
    seft.Evolver(model, total_steps=20)
    model(input_ids=tiny.tokens(), labels=tiny.tokens()).loss.backward()
    layers = model.seft_layers.values()
    held = sum(
        part.nbytes for layer in layers for part in vars(layer.window).values() if is_tensor(part)
    )
    shapes = [tuple(layer.weight.shape) for layer in layers]
    if nm == "evolve":
        assert held == 4 * sum(outputs * inputs for outputs, inputs in shapes)
    # What has trained is a candidate too, from the second time on.
    assert held <= repair.gathered_bytes(shapes) <= 4 / 3 * held


def test_evolving_is_timed(tiny):
    repair = tiny.build("seft")
    assert repair.seconds_evolving(repair.wrap(tiny.pruned_llama(), seed=0)) == 0
    assert repair.seconds_evolving(tiny.trained("seft", torch.float32)) > 0


def test_the_evolutions_of_a_saved_training_can_be_read(tiny, tmp_path):
    repair, model = tiny.build("seft"), tiny.trained("seft")
    repair.save(model, tmp_path)
    assert repair.saved_evolution_log(tmp_path) == model.evolution_log != []
    assert tiny.build("full").saved_evolution_log(tmp_path) == []
