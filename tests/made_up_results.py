"""The tables of a made-up grid, as a run leaves them in ``results/``, and what the page reads."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from made_up import OPTIONS, STRENGTH, made_up_record, made_up_samples, sparse_cells

from baselines.repair import REPAIRS
from bench.cells import BASE, DEFAULT_BUDGET, IDENTITY, Cell, dense_cell, history_path, record_path
from bench.claims.verdicts import CLAIM_COLUMNS
from bench.figures import places
from bench.figures.draw import write
from bench.figures.results import Results
from bench.files import read_table, write_json, write_json_lines
from bench.records.history import no_history, write_history
from bench.records.measures import KINDS
from bench.records.record import read_records
from bench.records.rows import budget_tokens, score_parts, shown_score
from bench.records.samples import SAMPLES_FILE
from bench.report import Sources
from bench.report.sources import read_figures, read_sweeps
from bench.statistics.comparisons import COLUMNS
from bench.tables.table1 import table1

PROJECTIONS = [f"self_attn.{name}_proj" for name in ("q", "k", "v", "o")]
PROJECTIONS += [f"mlp.{name}_proj" for name in ("gate", "up", "down")]
REPRODUCED = ["model", "context", "data_set", "metric", "method", "pattern", "published"]
REPRODUCED += ["measured", "difference", "relative_difference", "tolerance", "verdict", "source"]
REPRODUCED += ["model_here", "pruner", "budget", "repair", "score"]


def made_up_results(
    results: Path,
    *,
    models: Sequence[str] = ("tiny",),
    pruners: Sequence[str] = ("magnitude", "wanda", "sparsegpt"),
    patterns: Sequence[str] = ("s60",),
    repairs: Sequence[str] = ("none", "full", "lora", "lora-dense", "spp", "seft"),
    budgets: Sequence[str] = ("default",),
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
    cells += sparse_cells(models, pruners, patterns, repairs, budgets, seeds)
    paths, histories, strength = [], [], dict.fromkeys(REPAIRS, 0.5) | STRENGTH
    for cell in cells:
        error = FloatingPointError("loss is nan at step 3") if cell in failed else None
        samples = made_up_samples(cell, 12, 3, strength)
        path = results.parent / record_path(cell)
        paths.append(path)
        write_json(path, made_up_record(cell, samples, error))
        write_json_lines(path.with_name(SAMPLES_FILE), samples)
        if cell.pruner != "dense":
            histories.append(results.parent / history_path(cell))
            trained = cell.repair != "none" and error is None
            write_history(
                histories[-1], cell, made_up_history(cell, blocks) if trained else no_history()
            )
    records = read_records(paths)
    scores = made_up_scores(records.values())
    table = table1(list(records.values()), scores)
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
    read = Results.read(results, histories)
    figures = places(models[0], drawn, read.budgets or [DEFAULT_BUDGET]) if drawn else {}
    for path, of in figures.items():
        where = [of[key] for key in ("model", "pattern") if key in of]
        ours = read.at(of["budget"]) if "budget" in of else read
        write(results / "figures" / path, of["figure"], ours, *where)
    return Sources(
        records,
        read,
        claims=read_table(results / "claims.csv"),
        reproduction=read_table(results / "reproduction.csv"),
        tuning=read_sweeps([results / f"tuning/{models[0]}.csv"]),
        figures=read_figures(results / "figures" / f"{path}.svg" for path in figures),
        submissions=[],
    )


def made_up_history(cell: Cell, blocks: int) -> dict:
    """Losses that fall; with SEFT, positions that evolve."""
    random = np.random.default_rng(len(cell.repair) + cell.seed)
    layers = [f"model.layers.{block}.{name}" for block in range(blocks) for name in PROJECTIONS]
    evolves = cell.repair in (*OPTIONS, "random-grow", "spiel")
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


def made_up_scores(records: Iterable[dict]) -> pd.DataFrame:
    """Means over seeds, with intervals; the best and what lies less than a point below tie."""
    records = list(records)
    scored = score_parts(records)
    measured = [
        {
            **record["cell"],
            "tokens": budget_tokens(record),
            **{task: shown_score(record, of) for task, of in scored.items()},
        }
        for record in records
    ]
    rows = pd.DataFrame(measured).groupby([*IDENTITY, "tokens"], sort=False)
    parts = []
    for task in scored:
        part = rows[task].agg(["mean", "std", "count"]).reset_index()
        part = part.rename(columns={"count": "seeds"}).assign(task=task, items=12)
        kind = task.rpartition("_")[2]
        part["metric"] = {"perplexity": "perplexity", "bpb": "answer_bpb"}.get(kind, "acc")
        best = "min" if kind in ("perplexity", "bpb") else "max"
        part["se_seeds"], part["se_items"] = 0.5, 2.0
        part["ci_low"], part["ci_high"] = part["mean"] * 0.93, part["mean"] * 1.06
        group = part.groupby(IDENTITY[:3])
        # The unrepaired base is the first of its group.
        base = group["mean"].transform("first")
        dense = part["model"].map(part[part["pruner"] == "dense"].set_index("model")["mean"])
        part["recovery"] = ((part["mean"] - base) / (dense - base)).replace([np.inf, -np.inf], None)
        part["recovery_low"] = part["recovery"] - 0.2
        part["recovery_high"] = part["recovery"] + 0.2
        tied = part["mean"].notna() & (part["pruner"] != "dense")
        tied &= part["repair"] != "lora-dense"
        group = part[tied].groupby(IDENTITY[:3])["mean"]
        part["tie_group"] = 1 + ((part["mean"] - group.transform(best)).abs() > 1)[tied]
        last = part.groupby(IDENTITY[:3])["tie_group"].transform("max")
        part["best"] = (part["tie_group"] == 1) & (last > 1)
        parts.append(part)
    return pd.concat(parts, ignore_index=True)


def made_up_comparisons(scores: pd.DataFrame) -> pd.DataFrame:
    """Each two repairs of a base and budget once, in one made-up test."""
    base = [*BASE, "task", "metric", "seeds", "items"]
    scores = scores[scores["pruner"] != "dense"].dropna(subset="mean")
    trained = scores["repair"] != "none"
    at_each = scores.loc[trained, BASE].drop_duplicates()
    untrained = scores[~trained].drop(columns="budget").merge(at_each, on=IDENTITY[:3])
    one = pd.concat([untrained, scores[trained]])[[*base, "repair", "mean"]]
    pairs = one.merge(one, on=base, suffixes=("_a", "_b"))
    pairs = pairs[pairs["repair_a"] < pairs["repair_b"]]
    pairs["difference"] = pairs["mean_a"] - pairs["mean_b"]
    pairs["ci_low"], pairs["ci_high"] = pairs["difference"] - 2, pairs["difference"] + 2
    pairs["p_value"] = np.exp(-pairs["difference"].abs())
    pairs["p_holm"] = (3 * pairs["p_value"]).clip(upper=1)
    pairs["significant"] = pairs["p_holm"] < 0.05
    better = (pairs["difference"] < 0) == pairs["metric"].isin(KINDS)
    found = np.where(better, "better", "worse")
    found = np.where(pairs["significant"], found, "inconclusive")
    pairs["verdict"] = np.where(pairs["seeds"] == 1, "no verdict", found)
    return pairs.assign(test="permutation")[COLUMNS]


def made_up_claims() -> pd.DataFrame:
    shared = dict.fromkeys(CLAIM_COLUMNS) | {"budget": "default", "seeds": 3, "unit": "points"}
    shared |= dict.fromkeys(("supported", "refuted", "equal", "inconclusive", "no_verdict"), 0)
    rows = [
        {
            "title": "SEFT repairs",
            "statement": "SEFT is better than the unrepaired base, at each sparsity.",
            "verdict": "supported",
            "supported": 6,
            "estimate": 5.2,
            "ci_low": 3.1,
            "ci_high": 7.4,
        },
        {
            "title": "Gain on a fixed 80 % base",
            "statement": "SEFT gains accuracy over LoRA on that base; no gain refutes it.",
            "verdict": "inconclusive",
            "supported": 1,
            "inconclusive": 2,
            "estimate": 0.8,
            "ci_low": -0.9,
            "ci_high": 2.5,
            "to_settle": "5 seeds a cell or 1,200 items",
            "detail": "wanda s80: two seeds are too few",
        },
        {
            "title": "Lighter than full fine-tuning",
            "statement": "Memory and time are below full fine-tuning's.",
            "verdict": "refuted",
            "refuted": 3,
            "unit": "times",
            "estimate": 12.0,
            "ci_low": 9.0,
            "ci_high": 15.0,
        },
        {
            "title": "As good as SPP",
            "statement": "SEFT is better than SPP.",
            "verdict": "no verdict",
            "seeds": 1,
            "no_verdict": 3,
            "estimate": 0.1,
            "to_settle": "2 seeds a cell",
        },
        {
            "title": "Across families",
            "statement": "The same sign in each model family.",
            "verdict": "not tested",
            "seeds": None,
            "detail": "one model",
        },
    ]
    return pd.DataFrame([shared | row for row in rows])


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
    # The grid has no such model.
    return pd.DataFrame(rows, columns=REPRODUCED[:-5]).reindex(columns=REPRODUCED)


def made_up_sweep() -> pd.DataFrame:
    rows = [
        ["tiny", "wanda", "s60", "default", 12288, "seft", rate, 4.8, loss, loss == 3.5]
        for rate, loss in ((3e-4, 3.9), (1e-3, 3.5), (3e-3, None))
    ]
    columns = [*BASE, "tokens", "repair", "learning_rate", "base_validation_loss"]
    return pd.DataFrame(rows, columns=[*columns, "validation_loss", "chosen"])
