"""How long a large grid takes to plan, and its records to become tables: ``make scale``.

A grid of 10,000 cells of 7B models is planned by Snakemake, and nothing of it is run. Then made-up
records of all its cells are written, and tables made of them. The tables that need resampling of
items are made up, too: ``--statistics`` says how long these take.
"""

import argparse
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from math import ceil
from pathlib import Path
from tempfile import TemporaryDirectory

import yaml
from made_up import STRENGTH, made_up_record, made_up_samples
from made_up_results import made_up_comparisons, made_up_scores

from baselines.pruning import PRUNERS
from baselines.repair import REPAIRS
from bench.cells import dense_cell, record_path
from bench.config.loading import load, read_files
from bench.config.whole import Config
from bench.files import write_csv, write_json, write_json_lines
from bench.paths import ROOT
from bench.records.record import read_records
from bench.stages.collect import write_statistics, write_tables
from bench.statistics.items import read_items
from bench.tables.reproduction import read_references, reference_files, reproduction_table
from bench.tables.table1 import cells_table

PATTERNS = ["s50", "s60", "s70", "s80", "2of4", "4of8"]
SEEDS = [0, 1, 2]
BLOCKS = 32
SHAPE = {
    "blocks": BLOCKS,
    "hidden": 4096,
    "intermediate": 11008,
    "heads": 32,
    "key_value_heads": 32,
    "vocabulary": 32000,
}
LAYERS = [f"model.layers.{block}.{name}" for block in range(BLOCKS) for name in "qkvogud"]
ITEMS, DOCUMENTS = 60, 10


def grid_of(cells: int) -> dict:
    """What a grid of about so many cells changes in the default configuration."""
    trained = [name for name, repair in REPAIRS.items() if repair.training is not None]
    bases = ceil(cells / (1 + len(trained) * len(SEEDS)))
    models = ceil(bases / len(PRUNERS) / len(PATTERNS))
    patterns = PATTERNS[: ceil(bases / len(PRUNERS) / models)]
    names = [f"model-{number}" for number in range(models)]
    spec = {"source": {"source": "synthetic"}, "shape": SHAPE}
    return {
        "grid": {
            "models": names,
            "pruners": list(PRUNERS),
            "patterns": patterns,
            "repairs": list(REPAIRS),
            "seeds": SEEDS,
        },
        "models": dict.fromkeys(names, spec),
    }


def plan(folder: Path) -> str:
    """What Snakemake says that it would run, of the grid in a folder's ``grid.yaml``."""
    command = [sys.executable, "-m", "snakemake", "--dry-run", "--cores", "1"]
    command += ["--snakefile", str(ROOT / "Snakefile"), "--directory", str(folder)]
    command += ["--configfile", str(folder / "grid.yaml")]
    answer = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if answer.returncode:
        sys.exit(answer.stdout + answer.stderr)
    return answer.stdout + answer.stderr


def write_records(results: Path, config: Config) -> list[Path]:
    """Write made-up records of all cells, as long as those of 7B models; their paths."""
    strength = dict.fromkeys(REPAIRS, 0.5) | STRENGTH
    paths = []
    for cell in [*map(dense_cell, config.grid.models), *config.cells()]:
        samples = made_up_samples(cell, ITEMS, DOCUMENTS, strength)
        record = made_up_record(cell, samples)
        record["sparsity"]["layers"] = dict.fromkeys(LAYERS, record["sparsity"]["achieved"])
        paths.append(results / Path(record_path(cell)).relative_to("results"))
        write_json(paths[-1], record)
        write_json_lines(paths[-1].with_name("samples.jsonl.gz"), samples)
    return paths


def tables(results: Path, paths: list[Path]) -> dict[str, Callable[[], None]]:
    """What makes each table of the records at these paths, in this order; reading comes first."""
    references, records = read_references(reference_files()), []
    return {
        "reading": lambda: records.extend(read_records(paths).values()),
        "cells": lambda: cells_table(records),
        "tables to read": lambda: write_tables(records, results),
        "reproduction": lambda: reproduction_table(references, records),
    }


def make_up_statistics(results: Path, paths: list[Path]) -> None:
    """Write ``scores.csv`` and ``comparisons.csv`` without resampling anything."""
    scores = made_up_scores(read_records(paths).values())
    write_csv(results / "scores.csv", scores)
    write_csv(results / "comparisons.csv", made_up_comparisons(scores))


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cells", type=int, default=10_000)
    parser.add_argument("--statistics", action="store_true", help="resample the items, too")
    given = parser.parse_args()
    with TemporaryDirectory() as name:
        folder, results = Path(name), Path(name) / "results"
        changes = grid_of(given.cells)
        (folder / "grid.yaml").write_text(yaml.safe_dump(changes))
        values = read_files([folder / "grid.yaml"])
        config = load(values)
        took = seconds(lambda: plan(folder))
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**10
        cells = len(config.grid.models) + sum(1 for _ in config.cells())
        print(f"{cells:,} cells are planned in {took:.1f} s, with {peak:,.0f} MiB", flush=True)
        paths = write_records(results, config)
        make_up_statistics(results, paths)
        each = {table: seconds(make) for table, make in tables(results, paths).items()}
        parts = ", ".join(f"{table} {took:.1f} s" for table, took in each.items())
        print(f"{len(paths):,} records become tables in {sum(each.values()):.1f} s: {parts}")
        if given.statistics:
            found = read_records(paths)
            records, items = list(found.values()), read_items(found)
            took = seconds(lambda: write_statistics(records, items, results))
            print(f"their statistics, of {ITEMS} items a task: {took:.1f} s")


if __name__ == "__main__":
    main()
