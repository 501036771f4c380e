"""Records and results item by item of a whole grid that never ran, as a run writes them."""

import itertools
import math
import zlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from baselines.pruning.pattern import Pattern
from bench.cells import Cell, dense_cell, record_path
from bench.evaluation.answers import mean_bpb
from bench.files import write_json, write_json_lines
from bench.origin import digest_of
from bench.records.record import describe_error, make_record

TASKS = {
    "social_iqa": "acc_norm",
    "winogrande": "acc",
    "science": "acc_norm",
    "wiki": "perplexity",
}
REPAIRS = ("none", "full", "lora", "lora-dense", "spp", "seft")
# How much of what pruning lost a repair wins back.
STRENGTH = {
    "none": 0.0,
    "static": 0.3,
    "random-grow": 0.3,
    "spp": 0.4,
    "lora": 0.5,
    "masked-lora": 0.5,
    "full": 0.6,
    "seft": 0.7,
    "seft-random": 0.6,
    "lora-dense": 0.8,
}
# Of the repairs that have options beside their learning rate: SEFT, and a variant of it.
OPTIONS = {
    "seft": {"init": "gradient", "stagger": True, "drop_fraction": 0.2},
    "seft-random": {"of": "seft", "init": "random", "stagger": False, "drop_fraction": 0.2},
}
# Optimizer steps of a budget, of 256 tokens each.
STEPS = {"default": 48, "x4": 192, "x16": 768}
MIB = 2**20


def made_up_grid(
    results: str | Path,
    *,
    models: Sequence[str] = ("tiny",),
    pruners: Sequence[str] = ("magnitude", "wanda"),
    patterns: Sequence[str] = ("s50", "s60"),
    repairs: Sequence[str] = REPAIRS,
    budgets: Sequence[str] = ("default",),
    seeds: Sequence[int] = (0, 1, 2),
    items: int = 60,
    documents: int = 10,
    strength: Mapping[str, float] = STRENGTH,
    failed: Iterable[Cell] = (),
    missing: Iterable[Cell] = (),
) -> list[Path]:
    """Write ``cells/`` of a grid into a folder; the same arguments give the same bytes.

    Args:
        results: what is ``results`` in a run.
        models: their dense models are written, too.
        pruners: of the grid.
        patterns: of the grid.
        repairs: of the grid; ``none`` has seed 0 only, and no budget.
        budgets: of the grid, of those of ``STEPS``.
        seeds: of the repairs that train.
        items: questions a task.
        documents: texts of the perplexity.
        strength: the share of the damage that a repair undoes, by its name.
        failed: cells whose record says that their training failed.
        missing: cells without a record.

    Returns:
        The paths of the records.
    """
    results, failed, missing = Path(results), set(failed), set(missing)
    cells = [dense_cell(model) for model in models]
    cells += sparse_cells(models, pruners, patterns, repairs, budgets, seeds)
    paths = []
    for cell in cells:
        if cell in missing:
            continue
        path = results / Path(record_path(cell)).relative_to("results")
        samples = made_up_samples(cell, items, documents, strength)
        written = [] if cell in failed else samples
        write_json_lines(path.with_name("samples.jsonl.gz"), written)
        error = FloatingPointError("loss is nan at step 3") if cell in failed else None
        record = made_up_record(cell, samples, error)
        write_json(path, record)
        paths.append(path)
    return paths


def sparse_cells(models, pruners, patterns, repairs, budgets, seeds) -> list[Cell]:
    """Every sparse cell of a grid; what is not trained once."""
    whole = itertools.product(models, pruners, patterns, repairs, seeds, budgets)
    cells = (
        Cell(*base, repair, 0 if repair == "none" else seed, budget)
        for *base, repair, seed, budget in whole
    )
    return list(dict.fromkeys(cells))


def made_up_samples(
    cell: Cell, items: int, documents: int, strength: Mapping[str, float] = STRENGTH
) -> list[dict]:
    """Items that are as hard for every cell, answered as well as the cell's repair is strong."""
    dense = cell.pruner == "dense"
    damage = 0.0 if dense else (1 - strength[cell.repair]) * Pattern.parse(cell.pattern).sparsity
    damage += {"dense": 0.0, "magnitude": 0.1, "wanda": 0.05, "sparsegpt": 0.0}[cell.pruner]
    seed_noise = _rng(cell).normal(0, 0.02)
    rows = []
    for task, metric in TASKS.items():
        count = documents if metric == "perplexity" else items
        # The difficulty is the item's, the noise the cell's.
        hardness, noise = _rng(task).random(count), _rng(task, cell).normal(0, 0.1, count)
        for i in range(count):
            row = {"task": task, "id": f"{task}-{i}"}
            if metric == "perplexity":
                tokens = 200 + 7 * i
                loss = 3 + hardness[i] + 2 * damage + seed_noise + noise[i] / 5
                rows.append(row | {"log_likelihood": -loss * tokens, "tokens": tokens})
            else:
                right = float(hardness[i] + noise[i] < 0.75 - damage / 2 + seed_noise)
                rows.append(row | {"acc": right, "acc_norm": right})
                # The right one of two options takes 1 to 4 bits a byte.
                nats = math.log(2) * (1 + hardness[i] + 2 * damage + seed_noise + noise[i] / 5)
                rows[-1] |= {"log_likelihoods": [-8 * nats, -9.0], "bytes": [8, 6], "right": [0]}
    return rows


def made_up_record(cell: Cell, samples: list[dict], error: Exception | None = None) -> dict:
    """The record of these samples, or of an error in their place, complete as
    :mod:`bench.tools.check` wants it.
    """
    dense, trained = cell.pruner == "dense", cell.repair != "none"
    requested = 0.0 if dense else Pattern.parse(cell.pattern).sparsity
    achieved = 0.0 if dense or cell.repair == "lora-dense" else requested
    resolved = _resolved(cell, samples)
    cost = {
        "seconds": 20.0 + cell.seed,
        "waited_seconds": 0.0,
        "startup_seconds": 5.0,
        "loading_seconds": 1.0,
        "peak_rss_bytes": 300 * MIB,
        "peak_device_bytes": None,
        "disk_bytes": 10 * MIB,
    }
    steps = STEPS.get(cell.budget, 0)
    slower = 1 + len(cell.repair) / 10
    repair = cost | {
        "seconds": 40.0 * slower + cell.seed,
        "peak_rss_bytes": int(500 * slower * MIB),
        "trainable_parameters": 1000 * len(cell.repair),
        "tokens": 256 * steps,
        "loss_tokens": 200 * steps,
        "steps": steps,
        "tokens_per_second": 256 * steps / (40.0 * slower + cell.seed),
        "seconds_evolving": 1.0 if cell.repair == "seft" else 0.0,
    }
    layers = {"layers.0.q_proj": achieved, "layers.0.up": achieved}
    evolves = cell.repair in OPTIONS
    return make_record(
        cell,
        {"hash": digest_of(resolved), "resolved": resolved},
        sparsity={
            "requested": requested,
            "achieved": None if error else achieved,
            "layers": None if error else layers,
            "evolution": None if error or not evolves else {n: [s, s] for n, s in layers.items()},
        },
        stages={
            "prune": None if dense else cost,
            "repair": repair if trained and error is None else None,
            "merge": cost if trained and error is None else None,
            "evaluate": None if error else cost,
        },
        metrics=[] if error else _metrics(samples),
        samples=str(Path(record_path(cell)).with_name("samples.jsonl.gz")),
        provenance={
            "git": {"commit": "0" * 40, "dirty": False},
            "packages": {"torch": "2.13.0", "transformers": "5.23.0", "lm-eval": "0.4.13"},
            "python": "3.11.7",
            "platform": "Linux",
            "cpu": "made up",
            "accelerator": None,
            "dtype": "bfloat16",
            "threads": 1,
            "cluster_job": None,
            "manifests": {"model": "1" * 64, "data": "2" * 64},
        },
        error=describe_error(error, "repair", 1) if error else None,
    )


def _metrics(samples: list[dict]) -> list[dict]:
    rows = []
    for task, metric in TASKS.items():
        mine = [sample for sample in samples if sample["task"] == task]
        shared = {
            "stderr": None,
            "n": len(mine),
            "tokens": sum(s["tokens"] for s in mine) if metric == "perplexity" else None,
            "version": 1.0,
            "few_shot": 0,
            "limit": len(mine),
            "context_length": 512,
            "scoring": "packed",
            "data": task,
        }
        if metric == "perplexity":
            loss = -math.fsum(s["log_likelihood"] for s in mine) / shared["tokens"]
            rows.append({"task": task, "metric": metric, "value": math.exp(loss), **shared})
        else:
            for name in ("acc", "acc_norm"):
                value = sum(s[name] for s in mine) / len(mine)
                rows.append({"task": task, "metric": name, "value": value, **shared})
            value, stderr = mean_bpb(mine)
            rows.append({"task": task, "metric": "answer_bpb", **shared})
            rows[-1] |= {"value": value, "stderr": stderr}
    return rows


def _resolved(cell: Cell, samples: list[dict]) -> dict:
    resolved = {
        "model": {"source": "synthetic"},
        "evaluation": {
            "tasks": {
                task: {
                    "data": task,
                    "split": "test",
                    "metric": metric,
                    "limit": sum(s["task"] == task for s in samples) or None,
                    "few_shot": 0,
                    "context_length": 512 if metric == "perplexity" else None,
                }
                for task, metric in TASKS.items()
            },
            "batch_tokens": 256,
        },
        "runtime": {"device": "auto", "dtype": "auto", "threads": 1},
    }
    if cell.pruner != "dense":
        resolved |= {"calibration": {"samples": 16, "length": 256}, "pruning": {}}
        if cell.repair != "none":
            steps = STEPS[cell.budget]
            resolved["training"] = {"length": 128, "steps": steps, "batch_size": 2}
            resolved["repair"] = {"learning_rate": 1e-3, **OPTIONS.get(cell.repair, {})}
    return resolved


def _rng(*parts) -> np.random.Generator:
    return np.random.default_rng(zlib.crc32(repr(parts).encode()))
