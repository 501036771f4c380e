"""A grid of two budgets, from end to end."""

import json
import re
from collections import Counter

import pandas as pd

TWICE = {
    "budgets": {"x2": {"steps": 24, "repair": {"lora": {"learning_rate": 1.0e-3}}}},
    "grid": {
        "pruners": ["wanda"],
        "repairs": ["none", "lora", "lora-dense", "seft"],
        "budgets": ["default", "x2"],
    },
}


def test_a_second_budget_trains_and_shows_what_it_adds(finished):
    answer = finished.run("results/table1.csv", "reports/index.html", changes=TWICE)
    assert answer.returncode == 0, answer.stdout
    jobs = re.findall(r"^Job \d+: (\w+)", answer.stdout, re.MULTILINE)
    # What was trained with the first budget stays, and so do the bases.
    assert Counter(jobs) == {
        "Pack": 1,
        "Repair": 2,
        "Evaluate": 3,
        "Make": 1,
        "Draw": 1,
        "Check": 1,
    }
    table = finished.table()
    assert (table["status"] == "ok").all()
    rows = list(zip(table["budget"], table["repair"], strict=True))
    trained = ("lora", "lora-dense", "seft")
    assert rows[:2] == [("none", "none")] * 2
    assert rows[2:] == [(budget, repair) for budget in ("default", "x2") for repair in trained]
    tokens = table.set_index(["budget", "repair"])["repair_tokens"]
    assert tokens["x2", "seft"] == 2 * tokens["default", "seft"] == 24 * 2 * 32
    claims = pd.read_csv(finished.folder / "results/claims.csv")
    # A profile is of no budget.
    assert set(claims.loc[claims["budget"] != "x2", "claim"]) == {"lighter-profiled"}
    figures = finished.folder / "results/figures"
    for model in ("tiny", "tiny@x2"):
        assert (figures / model / "sparsity.svg").is_file()
        assert (figures / model / "s60/recovery.svg").is_file()
    folder = finished.folder / "results/cells/tiny/wanda-s60"
    resolved = {
        path.parts[-3]: json.loads(path.read_text())["config"]["resolved"]
        for path in folder.glob("*/seed0/record.json")
    }
    evolving = {name: resolved[name]["repair"]["evolve_every"] for name in ("seft", "seft@x2")}
    assert evolving == {"seft": 3, "seft@x2": 4}
    assert resolved["seft@x2"]["learning_rate_from"] == {"default": 3e-3}
    assert resolved["lora@x2"]["repair"]["learning_rate"] == 1e-3
