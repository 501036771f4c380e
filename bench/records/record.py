"""``record.json``: everything that is known of one cell."""

from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from baselines.problems import MisfitError, validated
from bench.cells import DENSE, Cell, record_path
from bench.config.variants import training_of
from bench.files import UnreadableError, advising, read_json
from bench.origin import digest_of
from bench.records.schema import RECORD

if TYPE_CHECKING:
    from bench.config.whole import Config

SCHEMA_VERSION = 1
# Whose a record is: known to readers, by where it lies, and not in its file.
ORIGIN, HERE, PUBLISHED = "origin", "here", "published"
RETRY = "to run its cell again: snakemake ... --config retry_failed=true"


def resolved_config(config: "Config", cell: Cell) -> dict:
    """The part of the configuration that decides the cell's numbers, and its SHA-256."""
    resolved = {
        "model": config.models[cell.model].source.model_dump(mode="json"),
        "evaluation": config.evaluation_of(cell.model).model_dump(mode="json"),
        "runtime": config.runtime.model_dump(include={"device", "dtype", "threads"}),
    }
    if cell.pruner != DENSE:
        resolved["calibration"] = config.calibration.model_dump(mode="json")
        resolved["pruning"] = config.pruner_options(cell.pruner)
        if training_of(cell.repair) is not None:
            resolved["training"] = config.training_at(cell.budget).model_dump(mode="json")
            resolved["repair"] = config.repair_options(cell.repair, cell.budget)
            rates = config.rates_around(cell.repair, cell.budget)
            if rates:
                resolved["learning_rate_from"] = rates
    return {"hash": digest_of(resolved), "resolved": resolved}


def prune_config(config: "Config", cell: Cell) -> dict:
    """The part of the resolved configuration that decides the cell's base."""
    reads = config.pruner(cell.pruner).reads_calibration
    return _parts(config, cell, "model", "pruning", *(["calibration"] if reads else []))


def repair_config(config: "Config", cell: Cell) -> dict:
    """The part of the resolved configuration that decides the cell's training, and its blocks."""
    parts = _parts(config, cell, "training", "repair")
    blocks = {use: packing(config, use, cell.budget) for use in ("train", "validation")}
    return {**prune_config(config, cell), **parts, "packing": blocks}


def _parts(config: "Config", cell: Cell, *names: str) -> dict:
    resolved = resolved_config(config, cell)["resolved"]
    # The number of threads decides no more than the last bits.
    runtime = {key: resolved["runtime"][key] for key in ("device", "dtype")}
    return {**{name: resolved[name] for name in names}, "runtime": runtime}


def packing(config: "Config", use: str, budget: str) -> dict:
    """What decides the blocks that repairs train on at a budget (``train``), or validate on."""
    training = config.training_at(budget)
    split = {"train": training.split, "validation": training.validation_split}[use]
    return {
        "mixture": {
            part.data: part.weight
            for part in training.mixture
            if split in config.data[part.data].splits
        },
        "split": split,
        "blocks": {"train": training.blocks, "validation": training.validation_blocks}[use],
        "length": training.length,
        "prompt_loss": training.prompt_loss,
    }


def data_of(config: "Config", cell: Cell) -> dict[str, dict]:
    """The data sets that decide the cell's numbers: each one's ``spec``, and its ``source``."""
    tasks = config.evaluation_of(cell.model).tasks.values()
    names = {task.data for task in tasks if task.data is not None}
    if cell.pruner != DENSE and config.pruner(cell.pruner).reads_calibration:
        names.add(config.calibration.data)
    if training_of(cell.repair) is not None:
        names |= {part.data for part in config.training.mixture}
    return data_config(config, names)


def data_config(config: "Config", names: Iterable[str]) -> dict[str, dict]:
    """Data sets as configured: each one's ``spec``, and its ``source``."""
    specs = {name: config.data[name] for name in sorted(names)}
    return {
        name: {
            "spec": spec.model_dump(mode="json"),
            "source": config.sources[spec.source].model_dump(mode="json"),
        }
        for name, spec in specs.items()
    }


def describe_error(error: BaseException, stage: str, attempt: int, log: str | None = None) -> dict:
    """The ``error`` entry of a failed record."""
    message = " ".join(str(error).split()) or type(error).__name__
    return {
        "class": type(error).__name__,
        "message": message[:500],
        "stage": stage,
        "attempt": attempt,
        "log": log,
    }


def make_record(
    cell: Cell,
    config: dict,
    *,
    sparsity: dict,
    stages: dict,
    provenance: dict,
    metrics: list[dict] = (),
    samples: str | None = None,
    inputs: dict | None = None,
    error: dict | None = None,
) -> dict:
    """A record in the order in which it is read; ``error`` makes it a failed one.

    Args:
        cell: whose record it is.
        config: what :func:`resolved_config` returned.
        sparsity: requested, achieved, and by layer (null when not measured); and of each layer
            the lowest and highest over its evolutions (null where it does not evolve).
        stages: costs of prune, repair, merge and evaluate (null when not run).
        provenance: code, packages, machine and the manifests' hashes.
        metrics: one entry a task and metric.
        samples: path of the results item by item.
        inputs: paths of what a sparse cell's model was made from: dense model, base, training
            (null without) and calibration tokens (null without); and ``identities`` of these, and
            of the blocks that were trained on.
        error: what :func:`describe_error` returned.
    """
    return {
        "schema_version": SCHEMA_VERSION,
        "cell": asdict(cell),
        "status": "ok" if error is None else "failed",
        "error": error,
        "config": config,
        "sparsity": sparsity,
        "stages": stages,
        "metrics": list(metrics),
        "samples": samples,
        "inputs": inputs,
        "provenance": provenance,
    }


def records_below(results: Path) -> list[Path]:
    """The records of a folder ``results``.

    Raises:
        ValueError: there are none.
    """
    records = sorted(results.glob("cells/**/record.json"))
    if not records:
        raise ValueError(f"{results}: no records; allowed: a folder with cells/.../record.json")
    return records


def read_record(path: str | Path) -> dict:
    """A record.

    Raises:
        UnreadableError: it is not one, of a schema version that this code does not read, or not
            in the place of its cell.
    """
    with advising(RETRY):
        try:
            record = parse_record(read_json(path))
        except MisfitError as error:
            raise UnreadableError(path, str(error).partition("\n")[0]) from None
        check_place(path, record["cell"])
        return record


def check_place(path: str | Path, cell: dict) -> None:
    """Check that a record, or a file beside it, lies where that of its cell does.

    A copy of a folder would else be another seed.

    Raises:
        UnreadableError: it does not.
    """
    path = Path(path)
    place = Path(record_path(Cell(**cell))).relative_to("results").with_name(path.name)
    if not path.absolute().match(str(place)):
        raise UnreadableError(path, f"cell: it belongs at {place}")


def parse_record(values: Any) -> dict:
    """A record as read from a file; one from before there were budgets is of the default one, and
    each is of ``HERE``.

    Raises:
        MisfitError: it is not one, or of a schema version that this code does not read.
    """
    validated(RECORD, values)
    return values | {"cell": asdict(Cell(**values["cell"])), ORIGIN: HERE}


def read_records(paths: Iterable[str | Path]) -> dict[str, dict]:
    """Several records by their paths; see :func:`read_record`.

    Raises:
        UnreadableError: also where a cell is there twice, which would count as two seeds.
    """
    records, places = {}, {}
    for path in paths:
        record = records[str(path)] = read_record(path)
        first = places.setdefault(Cell(**record["cell"]), path)
        if first != path:
            raise UnreadableError(path, f"cell: that of {first}, too; allowed: each cell once")
    return records
