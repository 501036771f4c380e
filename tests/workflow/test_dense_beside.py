"""Repairs that are handed the dense model: one with a loop of its own, one that distills."""

import json

REPAIRS = ["none", "lora", "reconstruct", "lora-distill"]


def test_they_run_beside_the_others_with_the_same_budget(finished):
    changes = {"grid": {"pruners": ["wanda"], "repairs": REPAIRS}}
    answer = finished.run("results/table1.csv", changes=changes)
    assert answer.returncode == 0, answer.stdout
    table = finished.table()
    sparse = table[table["pruner"] != "dense"].set_index("repair")
    assert list(sparse.index) == REPAIRS
    assert (sparse["status"] == "ok").all()
    assert ((sparse["sparsity_achieved"] - 0.6).abs() < 1 / 64).all()
    assert sparse["wiki_perplexity"].nunique() == len(REPAIRS)

    stages, trained = {}, REPAIRS[1:]
    for repair in trained:
        cell = finished.folder / f"results/cells/tiny/wanda-s60/{repair}/seed0"
        record = json.loads((cell / "record.json").read_text())
        stages[repair] = record["stages"]["repair"]
        objective = record["config"]["resolved"]["repair"].get("objective")
        assert objective == {"lora": "next-token", "lora-distill": "distill"}.get(repair)
    budgets = {(s["steps"], s["tokens"], s["batch_order"]) for s in stages.values()}
    assert len(budgets) == 1
    assert all(costs["peak_rss_bytes"] > 0 and costs["seconds"] > 0 for costs in stages.values())

    # Checkpoints are gone once a training is over, and nothing is left to do.
    assert not list(finished.folder.rglob("*.training"))
    assert finished.planned("results/table1.csv", changes=changes) == []
