"""The docs' examples, taken from the docs and run together."""

import json
import re
import shutil

import pytest
import yaml
from examples import examples as read_examples
from project import ROOT

from bench.sources import SyntheticSource, fetch_model


@pytest.fixture(scope="module")
def examples():
    return read_examples()


def add_methods(project, examples) -> None:
    """Add the examples' methods as the docs say: a module and a registry line each."""
    for name, example in examples.items():
        path = project.folder / name
        if path.name == "__init__.py":
            text = path.read_text()
            position = text.index("\n    },\n)")
            path.write_text(f"{text[:position]}\n{example.rstrip()}{text[position:]}")
        elif path.suffix == ".py":
            path.write_text(example)


def test_added_methods_pass_the_tests_of_the_interface(project, examples):
    """Those of the methods themselves, and those that a new one could turn red."""
    add_methods(project, examples)
    shutil.copytree(ROOT / "tests", project.folder / "tests")
    shutil.copy2(ROOT / "pyproject.toml", project.folder)
    interface = ("pruning", "repair/test_repair_interface.py", "repair/test_repair_mixture.py")
    paths = [f"tests/unit/{path}" for path in (*interface, "bench/test_config.py")]
    answer = project.module("pytest", *paths, "-k", "random or gains or generated", "-rA")
    assert answer.returncode == 0, answer.stdout
    passed = set(re.findall(r"^PASSED \S+::(\w+)", answer.stdout, re.MULTILINE))
    assert passed >= {
        "test_prunes_the_linear_layers_and_nothing_else",
        "test_exactly_the_trainables_train",
        "test_experts_are_repaired_and_their_routers_are_not",
        "test_generated_files_agree_with_the_configuration",
    }


def test_the_grid_example_is_allowed(project, examples):
    planned = project.planned(changes=yaml.safe_load(examples["more.yaml"]))
    evaluated = [job for job in planned if job.startswith("Evaluate tiny (")]
    assert len(evaluated) == 3 * 3 * (1 + 3 * 5)


def test_added_model_data_pruner_repair_and_variant_run(project, examples):
    fetch_model(
        SyntheticSource(source="synthetic", seed=7, architecture="qwen2"),
        project.folder / "models/mine",
    )
    notes = [{"id": str(n), "text": f"Note {n} says that {n} is a number."} for n in range(400)]
    (project.folder / "notes.jsonl").write_text("".join(json.dumps(n) + "\n" for n in notes))
    add_methods(project, examples)
    added = ("model", "data", "pruner", "repair", "variant")
    changes = [f"add-{what}.yaml" for what in added]
    for name in changes:
        (project.folder / name).write_text(examples[name])

    answer = project.run("results/table1.csv", files=changes)
    assert answer.returncode == 0, answer.stdout
    table = project.table()
    assert list(table["model"].unique()) == ["mine"]
    assert list(zip(table["pruner"], table["repair"], strict=True)) == [
        ("dense", "none"),
        ("random", "none"),
        ("random", "gains"),
        ("random", "gains-slow"),
    ]
    assert (table["status"] == "ok").all()
    assert ((table["sparsity_achieved"].iloc[1:] - 0.6).abs() < 1e-3).all()
    assert table["wiki_perplexity"].nunique() == 4

    variant = yaml.safe_load(examples["add-variant.yaml"])["variants"]
    (options,) = variant.values()
    options["learning_rate"] /= 2
    planned = project.planned(files=changes, changes={"variants": variant})
    assert [job for job in planned if "mine" in job] == [
        "Evaluate mine (random s60), gains-slow, seed 0",
        "Repair mine (random s60) with gains-slow, seed 0",
    ]
