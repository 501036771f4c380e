"""The tasks of config/paper.yaml: lm-eval's own definitions, on made-up data of the same form."""

from pathlib import Path

import datasets
import lm_eval.tasks
import pytest
from layers import load_layers
from lm_eval.tasks import TaskManager

from bench.evaluation import evaluate
from bench.evaluation.own import LmEvalSource

FOLDERS = ["super_glue", "glue", "hellaswag", "winogrande", "arc", "openbookqa", "piqa", "gsm8k"]
FOLDERS += ["mmlu/default"]
LETTERS = {"text": ["the key", "a red bird"], "label": ["A", "B"]}
SUBJECTS = ["stem", "other", "social_sciences", "humanities"]
# A row of each data set.
ROWS = {
    "aps/super_glue": {"passage": "The cup is red.", "question": "is it red", "label": 1},
    "nyu-mll/glue": {"sentence1": "The cup is red.", "sentence2": "It is.", "label": 0},
    "Rowan/hellaswag": {
        "activity_label": "Cups",
        "ctx_a": "The cup is red.",
        "ctx_b": "it",
        "endings": ["is old.", "was not.", "is a key.", "why."],
        "label": "2",
    },
    "allenai/winogrande": {
        "sentence": "The cup is not in the bag: the _ is heavy.",
        "option1": "cup",
        "option2": "bag",
        "answer": "2",
    },
    "allenai/ai2_arc": {"question": "Who is red?", "choices": LETTERS, "answerKey": "B"},
    "allenai/openbookqa": {"question_stem": "The red one is", "choices": LETTERS, "answerKey": "A"},
    "baber/piqa": {"goal": "bag a cup", "sol1": "Why.", "sol2": "Heavy.", "label": 1},
    "cais/mmlu": {"question": "Who is red? ", "choices": ["a", "the", "in", "so"], "answer": 3},
    "openai/gsm8k": {"question": "How old is it?", "answer": "It is 2 + 3 = 5.\n#### 5"},
}


@pytest.fixture
def requested(monkeypatch):
    """Data sets that were asked of the hub, with their commits."""
    tasks = Path(lm_eval.tasks.__file__).parent
    manager = TaskManager(include_path=[tasks / f for f in FOLDERS], include_defaults=False)
    monkeypatch.setattr("bench.evaluation.own._registry", lambda: manager)
    # Of MMLU's 57 subjects two of each kind, for the time that it takes.
    subjects = [manager.task_index[f"mmlu_{kind}_tasks"].tags for kind in SUBJECTS]
    assert sum(map(len, subjects)) == 57
    for tags in subjects:
        tags &= set(sorted(tags)[:2])
    requested = []

    def load_dataset(path, name=None, revision=None):
        requested.append((path, name, revision))
        rows = {"train": 6, "dev": 6, "validation": 2, "test": 2}
        return datasets.DatasetDict(
            {
                split: datasets.Dataset.from_list([ROWS[path]] * count)
                for split, count in rows.items()
            }
        )

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    return requested


def test_the_tasks_of_the_paper(requested, make_model, tokenizer, tmp_path):
    config = load_layers("paper.yaml")
    tasks = {name: task for name, task in config.evaluation.tasks.items() if task.data is None}
    assert len(tasks) == 10
    # As the shortest model is measured, and shorter.
    small = {
        name: task.model_copy(update={"context_length": task.context_length and 512})
        for name, task in tasks.items()
    }
    folders = {name: tmp_path / name for name in tasks}
    for name, task in tasks.items():
        requested.clear()
        folders[name].mkdir()
        LmEvalSource(task=name, revision=task.revision).retrieve(folders[name])
        assert len(requested) == (8 if name == "mmlu" else 1)
        assert {revision for _, _, revision in requested} == {task.revision}
    model = make_model(max_position_embeddings=512)
    found = evaluate(model, tokenizer, small, folders, batch_tokens=1024)
    shown = {
        row["task"]: row for row in found.metrics if row["metric"] == tasks[row["task"]].metric
    }
    assert set(shown) == set(tasks)
    for name, row in shown.items():
        assert row["n"] == (16 if name == "mmlu" else 2)
        assert row["few_shot"] == (5 if name in ("mmlu", "gsm8k") else 0)
        assert row["revision"] == tasks[name].revision
    assert shown["mmlu"]["tasks"] == 8
