import subprocess
import sys

import pytest
from pydantic import ValidationError

from bench.evaluation import TASKS_FOLDER, TaskSpec


def test_importing_the_settings_imports_nothing_heavy():
    code = (
        "import sys, bench.evaluation\n"
        "print(sorted({'torch', 'transformers', 'datasets', 'lm_eval'} & set(sys.modules)))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.stdout == "[]\n", result.stderr


def test_defaults():
    assert TaskSpec(metric="acc").model_dump() == {
        "data": None,
        "split": "test",
        "revision": None,
        "metric": "acc",
        "limit": None,
        "few_shot": 0,
        "context_length": None,
        "windows": "rolling",
    }


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"metric": "acc", "shots": 1}, "shots"),
        ({}, "metric"),
        ({"metric": "acc", "limit": 0}, "limit"),
        ({"metric": "acc", "few_shot": -1}, "few_shot"),
        ({"metric": "acc", "context_length": 0}, "context_length"),
        ({"metric": "perplexity"}, "context_length: missing"),
        ({"metric": "perplexity", "context_length": 8, "few_shot": 2}, "few_shot = 2"),
        ({"metric": "acc", "windows": "disjoint"}, "windows = 'disjoint': only of the metric"),
        ({"metric": "acc", "revision": "main"}, "revision"),
        ({"metric": "acc", "data": "x", "revision": "0" * 40}, "only of a task of lm-eval's own"),
    ],
)
def test_settings_that_cannot_be(settings, message):
    with pytest.raises(ValidationError, match=message):
        TaskSpec(**settings)


def test_tasks_folder_holds_the_tasks_of_the_benchmark():
    names = {path.stem for path in TASKS_FOLDER.glob("*.yaml")}
    assert {"social_iqa", "winogrande", "science", "wiki"} <= names
