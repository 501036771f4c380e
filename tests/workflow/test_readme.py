"""The README's examples, taken from the README and run together."""

import json
import re

import pytest
import yaml
from project import ROOT

from bench.sources import SyntheticSource, fetch_model


@pytest.fixture(scope="module")
def examples():
    """The code blocks of the README whose first line names a file, by that name."""
    blocks = re.findall(
        r"```(?:python|yaml)\n# (\S+)\n(.*?)```", (ROOT / "README.md").read_text(), re.S
    )
    assert len(blocks) == len(dict(blocks))
    return dict(blocks)


def register(project, package: str, line: str) -> None:
    path = project.folder / package
    text = path.read_text()
    position = text.index("\n    },\n)")
    path.write_text(f"{text[:position]}\n{line.rstrip()}{text[position:]}")


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
    for package in ("baselines/pruning", "baselines/repair"):
        register(project, f"{package}/__init__.py", examples[f"{package}/__init__.py"])
    for name in ("baselines/pruning/random.py", "baselines/repair/norms.py"):
        (project.folder / name).write_text(examples[name])
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
        ("random", "norms"),
        ("random", "norms-slow"),
    ]
    assert (table["status"] == "ok").all()
    assert ((table["sparsity_achieved"].iloc[1:] - 0.6).abs() < 1e-3).all()
    assert table["wiki_perplexity"].nunique() == 4

    variant = yaml.safe_load(examples["add-variant.yaml"])["variants"]
    (options,) = variant.values()
    options["learning_rate"] /= 2
    planned = project.planned(files=changes, changes={"variants": variant})
    assert [job for job in planned if "mine" in job] == [
        "Evaluate mine (random s60), norms-slow, seed 0",
        "Repair mine (random s60) with norms-slow, seed 0",
    ]
