"""What is measured on and would be trained on."""

import json

CHECKED = "resources/data/manifest.json"
BLOCKS = "resources/tokens/tiny/train.safetensors"


def test_overlaps_stop_the_run_or_are_left_out(project):
    notes = [{"id": f"n{i}", "text": f"Note {i} says that {i} is a number."} for i in range(300)]
    file = project.folder / "notes.jsonl"
    changes = {
        "sources": {"notes": {"source": "path", "path": "notes.jsonl"}},
        "data": {
            "notes": {
                "source": "notes",
                "files": ["notes.jsonl"],
                "reader": "jsonl",
                "splits": {"train": 0.9, "validation": 0.1},
                "licence": "CC0-1.0",
            }
        },
        "training": {"mixture": [{"data": "notes"}]},
    }

    def pack(overlap: str):
        file.write_text("".join(json.dumps(note) + "\n" for note in notes))
        changes["training"]["overlap"] = overlap
        return project.run(CHECKED, BLOCKS, changes=changes)

    assert pack("stop").returncode == 0
    before = (project.folder / BLOCKS).read_bytes()
    assert not (project.folder / "resources/overlaps.jsonl").exists()
    tested = project.folder / "resources/data/science/test.jsonl"
    question = json.loads(tested.read_text().splitlines()[0])
    # In the split of another note that is trained on.
    trained = project.folder / "resources/data/notes/train.jsonl"
    group = json.loads(trained.read_text().splitlines()[0])["id"]
    notes.append({"id": "leak", "group": group, "text": f"He asked: {question['question']}"})

    stopped = pack("stop")
    assert stopped.returncode == 1
    assert f"science/test/{question['id']}; all pairs, with their texts: " in stopped.stdout
    (pair,) = map(json.loads, (project.folder / "resources/overlaps.jsonl").open())
    assert (pair["seen"], pair["seen_id"]) == ("notes/train", "leak")
    assert pair["tested_text"] == question["question"]
    assert question["question"] in pair["seen_text"]

    answer = pack("drop")
    assert answer.returncode == 0, answer.stdout
    checked = json.loads((project.folder / CHECKED).read_text())
    assert checked["overlaps"] == {"pairs": 1, "dropped": {"notes/train": ["leak"]}}
    assert (project.folder / BLOCKS).read_bytes() == before
    # What is left out depends on what is measured.
    again = changes | {"evaluation": {"tasks": {"science": None}}}
    assert "Pack the train blocks for tiny" in project.planned(CHECKED, BLOCKS, changes=again)
    assert project.planned(CHECKED, BLOCKS, changes=changes) == []
