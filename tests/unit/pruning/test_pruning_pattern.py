import subprocess
import sys
from pathlib import Path

import pytest

import baselines
from baselines.pruning.pattern import Pattern


@pytest.mark.parametrize(
    "text", ["s60", "s50", "s62.5", "s1", "s99", "s0.1", "2of4", "4of8", "1of3"]
)
def test_text_round_trip(text):
    assert str(Pattern.parse(text)) == text
    assert Pattern.parse(str(Pattern.parse(text))) == Pattern.parse(text)


@pytest.mark.parametrize("sparsity", [0.6, 0.7, 1 / 3, 0.123456, 1e-6])
def test_fraction_round_trip(sparsity):
    pattern = Pattern.unstructured(sparsity)
    assert Pattern.parse(str(pattern)) == pattern
    assert pattern.sparsity == sparsity


def test_parts():
    pattern = Pattern.parse("4of8")
    assert (pattern.n, pattern.m, pattern.sparsity) == (4, 8, 0.5)
    assert pattern != Pattern.parse("2of4")
    pattern = Pattern.parse("s62.5")
    assert (pattern.n, pattern.m, pattern.sparsity) == (None, None, 0.625)
    assert Pattern.parse("s60") == Pattern.unstructured(0.6)


def test_count_is_not_fooled_by_float_arithmetic():
    for percent in range(1, 100):
        pattern = Pattern.unstructured(percent / 100)
        for entries in (*range(1, 200), 11008, 4096 * 11008):
            assert pattern.count(entries) == entries * percent // 100


@pytest.mark.parametrize(
    "text",
    [
        "s0",
        "s100",
        "s120",
        "s-5",
        "s",
        "s6o",
        "60",
        "4of4",
        "0of4",
        "5of4",
        "0of0",
        "2:4",
        "foo",
        "",
    ],
)
def test_bad_text(text):
    with pytest.raises(ValueError, match=f"^pattern {text!r} is neither"):
        Pattern.parse(text)


@pytest.mark.parametrize("sparsity", [0, 1, -0.1, 1.2, 60, float("nan"), float("inf"), 1e-9])
def test_bad_sparsity(sparsity):
    with pytest.raises(ValueError, match=r"^sparsity is .*; it must lie in \(0, 1\)$"):
        Pattern.unstructured(sparsity)


def test_width():
    Pattern.parse("2of4").check_width("layer", 48)
    Pattern.parse("s60").check_width("layer", 17)
    with pytest.raises(ValueError, match=r"^blocks\.0\.q has 18 inputs, not a multiple of 4"):
        Pattern.parse("2of4").check_width("blocks.0.q", 18)


def test_names_are_read_without_torch():
    code = (
        "import sys, baselines.pruning as p, baselines.pruning.pattern; "
        "assert 'wanda' in list(p.PRUNERS) and p.Pattern; assert 'torch' not in sys.modules"
    )
    root = Path(baselines.__file__).parents[1]
    subprocess.run([sys.executable, "-c", code], cwd=root, check=True)
