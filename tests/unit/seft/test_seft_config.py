import math
import re

import pytest

from seft import SeftConfig


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "exactly one of density and match_rank"),
        ({"density": 0.1, "match_rank": 8}, "exactly one of density and match_rank"),
        ({"density": 0}, "density=0 must be in"),
        ({"density": 1.5}, "density=1.5 must be in"),
        ({"density": "much"}, "density='much' must be in"),
        ({"density": True}, "density=True must be in"),
        ({"match_rank": True}, "match_rank=True must be a whole number from 1"),
        ({"match_rank": 8, "drop_fraction": False}, "drop_fraction=False must be in"),
        ({"match_rank": 0}, "match_rank=0 must be a whole number from 1"),
        ({"match_rank": 8, "evolve_every": 0}, "evolve_every=0 must be"),
        (
            {"match_rank": 8, "evolve_every": 4, "accumulate_steps": 5},
            "accumulate_steps=5 must be a whole number from 1 to evolve_every=4",
        ),
        ({"match_rank": 8, "drop_fraction": 1.1}, "drop_fraction=1.1 must be in"),
        ({"match_rank": 8, "stop_fraction": 0}, "stop_fraction=0 must be in"),
        ({"match_rank": 8, "schedule": "step"}, "schedule='step' must be one of cosine, linear"),
        ({"match_rank": 8, "init": "zero"}, "init='zero' must be one of random, gradient, inside"),
        ({"match_rank": 8, "growth": "magnitude"}, "growth='magnitude' must be one of"),
        ({"match_rank": 8, "moments": "kept"}, "moments='kept' must be one of reset, seeded, ramp"),
        ({"match_rank": 8, "mask": "base"}, "mask='base' must be one of evolve, fixed, free"),
        ({"match_rank": 8, "pattern": (4, 4)}, "pattern=(4, 4) must be (N, M) with 0 < N < M"),
        ({"match_rank": 8, "pattern": "2of4"}, "pattern='2of4' must be (N, M) with 0 < N < M"),
        ({"match_rank": 8, "pattern": (2.0, 4.0)}, "pattern=(2.0, 4.0) must be (N, M) with"),
        (
            {"match_rank": 8, "target_modules": "("},
            "target_modules='(' must be a list of names, or",
        ),
        ({"match_rank": 8, "exclude_modules": [1]}, "exclude_modules=[1] must be a list of names"),
        ({"match_rank": 8, "modules_to_save": "norm"}, "modules_to_save='norm' must be a list of"),
        ({"match_rank": 8, "layers_to_transform": "0"}, "layers_to_transform='0' must be whole"),
        ({"match_rank": 8, "pattern": (2, 4), "mask": "free"}, "mask='free' must be"),
        ({"match_rank": 8, "pattern": (2, 4), "candidates": 4}, "candidates cannot be limited"),
        ({"match_rank": 8, "candidates": 2}, "candidates=2 must be a whole number from 3"),
    ],
)
def test_wrong_options_are_named(options, message):
    with pytest.raises(ValueError, match=re.escape(message)) as error:
        SeftConfig(**options)
    assert "\n" not in str(error.value)


def test_configuration_survives_its_file(tmp_path):
    config = SeftConfig(density=0.02, target_modules=["q_proj"], pattern=(2, 4), seed=3)
    config.save_pretrained(tmp_path)
    assert SeftConfig.from_pretrained(tmp_path) == config
    assert config.candidates is None


@pytest.mark.parametrize("text", [None, "{", '{"density": 0.1, "rank": 8}'])
def test_a_file_that_is_no_configuration_is_named(tmp_path, text):
    if text is not None:
        (tmp_path / "seft_config.json").write_text(text)
    with pytest.raises(ValueError, match=r"seft_config\.json is not a SEFT configuration"):
        SeftConfig.from_pretrained(tmp_path)


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ("cosine", [0.2, 0.1 * (1 + math.cos(math.pi / 4)), 0.1, 0, 0]),
        ("linear", [0.2, 0.15, 0.1, 0, 0]),
    ],
)
def test_drop_rate_falls_from_p0_to_0_at_the_stop(schedule, expected):
    config = SeftConfig(density=0.1, schedule=schedule, stop_fraction=0.8)
    rates = [config.drop_rate(step, 1000) for step in (0, 200, 400, 800, 1000)]
    assert rates == pytest.approx(expected)


def test_number_of_active_entries():
    assert SeftConfig(match_rank=8).active_entries(576, 192) == 8 * (576 + 192)
    # Each percentage of a hundred entries is that many.
    found = [SeftConfig(density=n / 100).active_entries(10, 10) for n in range(1, 101)]
    assert found == list(range(1, 101))
    assert SeftConfig(density=0.01).active_entries(100, 50) == 50
    assert SeftConfig(density=0.01).active_entries(3, 3) == 1
