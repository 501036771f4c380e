import hashlib

import pytest
from layers import read_layers

from bench.config.loading import load
from bench.files import write_json
from bench.records.band import band_problems, checked, is_checked


def problems(band: dict, *metrics: tuple, **changes) -> list[str]:
    """Of a dense model of which (task, metric, value, stderr) was measured."""
    values = read_layers() | changes
    values["models"]["smollm2-135m"]["band"] = band
    config = load(values)
    record = {
        "config": {"resolved": {"evaluation": config.evaluation_of("smollm2-135m").model_dump()}},
        "metrics": [
            dict(zip(("task", "metric", "value", "stderr"), entry, strict=True))
            for entry in metrics
        ],
    }
    return list(band_problems("smollm2-135m", config.models["smollm2-135m"].band, record))


# 60 right of 150: 40 % with a standard error of 4 points, an interval of 32.2 to 47.8.
SIXTY = ("social_iqa", "acc_norm", 0.4, 0.04)


@pytest.mark.parametrize(
    ("band", "outside"),
    [
        ((36, 50), False),
        ((40, 40), False),
        ((47.8, 60), False),
        ((47.9, 60), True),
        ((20, 32.2), False),
        ((20, 32.1), True),
    ],
)
def test_a_score_is_outside_where_its_interval_does_not_touch_the_band(band, outside):
    found = problems({"social_iqa": band}, SIXTY)
    assert len(found) == outside
    for line in found:
        assert line.startswith("models.smollm2-135m.band.social_iqa: ")
        assert f"it scores 40 ± 7.8; allowed: {band[0]:g} to {band[1]:g}" in line


@pytest.mark.parametrize("stderr", [None, float("nan")])
def test_a_score_without_an_error_is_compared_itself(stderr):
    for inside in (15.0, 19.9, 20.0):
        assert problems({"wiki": (15, 20)}, ("wiki", "perplexity", inside, stderr)) == []
    (line,) = problems({"wiki": (15, 20)}, ("wiki", "perplexity", 20.1, stderr))
    assert "it scores 20.1; allowed: 15 to 20" in line


def test_a_perplexity_has_its_own_error():
    assert problems({"wiki": (15, 20)}, ("wiki", "perplexity", 22.0, 1.1)) == []
    assert len(problems({"wiki": (15, 20)}, ("wiki", "perplexity", 22.0, 1.0))) == 1


def test_a_task_that_is_run_and_scores_nothing():
    (line,) = problems({"social_iqa": (36, 50)}, ("wiki", "perplexity", 17.0, 0.5))
    assert "it scores nothing" in line


def test_a_task_that_is_left_out_says_nothing():
    tasks = read_layers()["evaluation"]["tasks"] | {"social_iqa": None}
    assert problems({"social_iqa": (36, 50)}, evaluation={"tasks": tasks}) == []


def test_a_perplexity_with_more_context_than_the_model_takes_says_nothing():
    values = read_layers()
    values["models"]["smollm2-135m"]["context_length"] = 256
    assert problems({"wiki": (15, 20)}, models=values["models"]) == []


def test_a_check_is_of_one_model_and_one_band(tmp_path):
    band, manifest, file = {"wiki": [15.0, 20.0]}, tmp_path / "manifest.json", tmp_path / "checked"
    manifest.write_text("a model")
    write_json(file, checked(hashlib.sha256(b"a model").hexdigest(), band))
    assert is_checked(file, tmp_path, band)
    assert not is_checked(file, tmp_path, {"wiki": [15.0, 21.0]})
    manifest.write_text("another model")
    assert not is_checked(file, tmp_path, band)
    manifest.unlink()
    assert not is_checked(file, tmp_path, band)
    assert not is_checked(tmp_path / "none", tmp_path, band)
