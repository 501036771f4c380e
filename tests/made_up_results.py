"""The tables of a made-up grid, as a run leaves them in ``results/``, and what the page reads."""

import itertools
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from made_up import STRENGTH, TASKS, made_up_record, made_up_samples

from baselines.repair import REPAIRS
from bench.cells import Cell, dense_cell, history_path, record_path
from bench.figures import OF_MODEL, OF_PATTERN
from bench.figures.draw import write
from bench.figures.results import Results
from bench.files import write_json
from bench.history import no_history, write_history
from bench.report import Sources
from bench.tables import IDENTITY, table1

PROJECTIONS = [f"self_attn.{name}_proj" for name in ("q", "k", "v", "o")]
PROJECTIONS += [f"mlp.{name}_proj" for name in ("gate", "up", "down")]
SCORED = (*(task for task in TASKS if task != "wiki"), "average", "wiki_perplexity")
COMPARED = [*IDENTITY[:3], "task", "repair_a", "repair_b", "seeds", "items", "mean_a", "mean_b"]
COMPARED += ["difference", "ci_low", "ci_high", "test", "p_value", "p_holm", "significant"]
CLAIMED = ["claim", "title", "statement", "verdict", "comparisons", "supported", "refuted"]
CLAIMED += ["inconclusive", "estimate", "ci_low", "ci_high", "needed_seeds", "needed_items"]
CLAIMED += ["detail"]
REPRODUCED = ["model", "context", "data_set", "metric", "method", "pattern", "published"]
REPRODUCED += ["measured", "difference", "relative_difference", "tolerance", "verdict", "source"]


def made_up_results(
    results: Path,
    *,
    models: Sequence[str] = ("tiny",),
    pruners: Sequence[str] = ("magnitude", "wanda", "sparsegpt"),
    patterns: Sequence[str] = ("s60",),
    repairs: Sequence[str] = ("none", "full", "lora", "lora-dense", "spp", "seft"),
    seeds: Sequence[int] = (0, 1),
    failed: Sequence[Cell] = (),
    blocks: int = 6,
    drawn: Sequence[str] = (),
) -> Sources:
    """Write records, histories and tables into a folder `results`; what the page is made from.

    A sweep is recorded for the first model alone, and of it the figures of the patterns `drawn`
    are drawn.
    """
    cells = [dense_cell(model) for model in models]
    cells += [
        Cell(model, pruner, pattern, repair, seed)
        for model, pruner, pattern, repair in itertools.product(models, pruners, patterns, repairs)
        for seed in ((0,) if repair == "none" else seeds)
    ]
    records, histories, strength = {}, [], {name: 0.5 for name in REPAIRS} | STRENGTH
    for cell in cells:
        error = FloatingPointError("loss is nan at step 3") if cell in failed else None
        samples = [] if error else made_up_samples(cell, 12, 3, strength)
        path = results.parent / record_path(cell)
        records[path] = made_up_record(cell, samples, error)
        write_json(path, records[path])
        if cell.pruner != "dense":
            histories.append(results.parent / history_path(cell))
            trained = cell.repair != "none" and error is None
            write_history(
                histories[-1], cell, made_up_history(cell, blocks) if trained else no_history()
            )
    table = table1(list(records.values()))
    scores = made_up_scores(table)
    sweep = made_up_sweep()
    tables = {
        "table1": table,
        "scores": scores,
        "comparisons": made_up_comparisons(scores),
        "claims": made_up_claims(),
        "reproduction": made_up_reproduction(),
        f"tuning/{models[0]}": sweep,
    }
    for name, frame in tables.items():
        (results / f"{name}.csv").parent.mkdir(exist_ok=True)
        frame.to_csv(results / f"{name}.csv", index=False)
    read = Results.read(results / "scores.csv", results / "table1.csv", histories)
    figures = [(name, (models[0],)) for name in OF_MODEL if drawn]
    figures += [(name, (models[0], pattern)) for name in OF_PATTERN for pattern in drawn]
    stems = [results.joinpath("figures", *where, name) for name, where in figures]
    for stem, (name, where) in zip(stems, figures, strict=True):
        write(stem, name, read, *where)
    return Sources.read(
        records=records,
        histories=histories,
        figures=[stem.with_suffix(".svg") for stem in stems],
        tuning=[results / f"tuning/{models[0]}.csv"],
        **{name: results / f"{name}.csv" for name in tables if "/" not in name},
    )


def made_up_history(cell: Cell, blocks: int) -> dict:
    """Losses that fall; with SEFT, positions that evolve."""
    random = np.random.default_rng(len(cell.repair) + cell.seed)
    layers = [f"model.layers.{block}.{name}" for block in range(blocks) for name in PROJECTIONS]
    evolves = cell.repair in ("seft", "random-grow", "spiel")
    steps = [step for step in range(8, 48, 8) for _ in layers] if evolves else []
    moves = evolves or cell.repair in ("lora", "lora-dense")
    return {
        "training": [
            {
                "step": step,
                "loss": 2.5 + 2 * np.exp(-step / (8 + len(cell.repair))) + random.normal(0, 0.05),
                "learning_rate": 1e-3,
            }
            for step in range(1, 49)
        ],
        "evolution": {
            "step": steps,
            "layer": list(range(len(layers))) * (len(steps) // len(layers)),
            "reactivated": list(random.uniform(0, 0.5, len(steps))),
            "overlap": [1 - step / 2000 for step in steps],
        },
        "layers": {
            layer: {
                "change": random.uniform(0.001, 0.1),
                "entered": random.uniform(0.001, 0.02) if moves else 0.0,
                "left": random.uniform(0.001, 0.02) if moves else 0.0,
            }
            for layer in layers
        },
    }


def made_up_scores(table: pd.DataFrame) -> pd.DataFrame:
    """Means of the table, with intervals; the best and what lies less than a point below tie."""
    rows = []
    for _, group in table.groupby(["model", "pruner", "pattern"], sort=False):
        for task in SCORED:
            dense = table.loc[
                (table["model"] == group["model"].iloc[0]) & (table["pruner"] == "dense"), task
            ].iloc[0]
            base = group.loc[group["repair"] == "none", task]
            sign = -1 if task == "wiki_perplexity" else 1
            best = (sign * group[task]).max()
            for row in group.to_dict("records"):
                mean, lost = row[task], dense - base.iloc[0] if len(base) else np.nan
                rows.append(
                    {
                        **{key: row[key] for key in IDENTITY},
                        "task": task,
                        "metric": "perplexity" if sign < 0 else "acc",
                        "seeds": row["seeds"],
                        "items": 12,
                        "mean": mean,
                        "std": row[f"{task}_std"],
                        "se_seeds": 0.5,
                        "se_items": 2.0,
                        "ci_low": mean * 0.93,
                        "ci_high": mean * 1.06,
                        "recovery": (mean - base.iloc[0]) / lost if lost else np.nan,
                        "tie_group": np.nan if pd.isna(mean) else 1 + (best - sign * mean > 1),
                    }
                )
    return pd.DataFrame(rows)


def made_up_comparisons(scores: pd.DataFrame) -> pd.DataFrame:
    rows = []
    scores = scores[scores["pruner"] != "dense"].dropna(subset="mean")
    for base, group in scores.groupby([*IDENTITY[:3], "task"], sort=False):
        for a, b in itertools.combinations(group.to_dict("records"), 2):
            difference = a["mean"] - b["mean"]
            p = float(np.exp(-abs(difference)))
            rows.append(
                [
                    *base,
                    a["repair"],
                    b["repair"],
                    a["seeds"],
                    12,
                    a["mean"],
                    b["mean"],
                    difference,
                    difference - 2,
                    difference + 2,
                    "permutation",
                    p,
                    min(1, 3 * p),
                    3 * p < 0.05,
                ]
            )
    return pd.DataFrame(rows, columns=COMPARED)


def made_up_claims() -> pd.DataFrame:
    rows = [
        [
            "repairs",
            "SEFT repairs",
            "SEFT is better than the unrepaired base, at each sparsity.",
            "supported",
            6,
            6,
            0,
            0,
            5.2,
            3.1,
            7.4,
            None,
            None,
            None,
        ],
        [
            "fixed-80",
            "Gain on a fixed 80 % base",
            "SEFT gains accuracy over LoRA on that base; no gain refutes it.",
            "inconclusive",
            3,
            1,
            0,
            2,
            0.8,
            -0.9,
            2.5,
            5,
            1200,
            "wanda s80: 0.8 (−0.9 to 2.5)",
        ],
        [
            "lighter",
            "Lighter than full fine-tuning",
            "Memory and time are below full fine-tuning's.",
            "refuted",
            3,
            0,
            3,
            0,
            12.0,
            9.0,
            15.0,
            None,
            None,
            None,
        ],
        [
            "families",
            "Across families",
            "The same sign in each model family.",
            "not tested",
            0,
            0,
            0,
            0,
            None,
            None,
            None,
            None,
            None,
            "one model",
        ],
    ]
    return pd.DataFrame(rows, columns=CLAIMED)


def made_up_reproduction() -> pd.DataFrame:
    shared = ["LLaMA-7B", 2048, "wikitext2", "perplexity"]
    rows = [
        [*shared, "dense", "dense", 5.68, 5.7, 0.02, 0.0035, 0.05, "inside", "OWL README"],
        [*shared, "wanda", "s50", 7.26, 7.9, 0.64, 0.088, 0.05, "outside", "BESA README"],
        *(
            [*shared, "wanda", f"s{s}", 10.0, None, None, None, 0.05, "not measured", "OWL README"]
            for s in (60, 70, 80)
        ),
    ]
    return pd.DataFrame(rows, columns=REPRODUCED)


def made_up_sweep() -> pd.DataFrame:
    rows = [
        ["wanda", "s60", "seft", rate, 4.8, loss, loss == 3.5]
        for rate, loss in ((3e-4, 3.9), (1e-3, 3.5), (3e-3, None))
    ]
    columns = ["pruner", "pattern", "repair", "learning_rate", "base_validation_loss"]
    return pd.DataFrame(rows, columns=[*columns, "validation_loss", "chosen"])
