"""Check records that come from elsewhere: ``python -m bench check results/``.

One line a problem, exit status 1; what is checked is described in ``docs/submitting.md``.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

from baselines.problems import MisfitError
from baselines.pruning import PRUNERS
from baselines.pruning.pattern import Pattern
from baselines.repair import REPAIRS
from bench.cells import DENSE, HISTORY_FILE, UNREPAIRED, Cell, dense_cell
from bench.config.variants import method_of
from bench.files import UnreadableError, read_json
from bench.origin import digest_of, identity, verify
from bench.paths import is_there
from bench.records.comparable import differences
from bench.records.history import read_histories
from bench.records.record import check_place, parse_record
from bench.records.rows import SPARSITY_TOLERANCE, budget_tokens
from bench.records.samples import (
    ROUNDING,
    SAMPLES_FILE,
    Samples,
    has_values,
    parse_samples,
    sample_problems,
    score_range,
)
from bench.records.submissions import ABOUT, Submission


def find_problems(results: Path) -> Iterator[str]:
    """What is wrong with the records below ``results/cells``, a line each.

    Args:
        results: what is ``results`` in a run.
    """
    paths = sorted(results.glob("cells/**/record.json"))
    if not paths:
        yield f"{results}: no records; allowed: a folder with cells/.../record.json"
    records, samples = {}, {}
    for path in paths:
        name = path.relative_to(results).as_posix()
        try:
            record = parse_record(read_json(path))
        except UnreadableError as error:
            yield f"{name}: {error.reason}"
        except MisfitError as error:
            yield from (f"{name}: {problem}" for problem in str(error).splitlines())
        else:
            records[name] = record
            yield from (f"{name}: {problem}" for problem in _alone(path, record))
            history = path.with_name(HISTORY_FILE)
            if history.is_file():
                try:
                    read_histories([history])
                except UnreadableError as error:
                    yield f"{name}: {history.name}: {error.reason}"
            if record["status"] == "ok":
                try:
                    found = parse_samples(path.with_name(SAMPLES_FILE))
                except UnreadableError as error:
                    yield f"{name}: {SAMPLES_FILE}: {error.reason}"
                else:
                    yield from (f"{name}: {problem}" for problem in _items(record, found))
                    # More than that of all cells may not fit into memory.
                    ids = {task: [item["id"] for item in found[task]] for task in found}
                    digests = {task: digest_of(each) for task, each in ids.items()}
                    samples[name] = digests, digest_of(found)
    yield from _together(records, samples)
    yield from local_problems(results.parent, records)


def submission_problems(submission: Submission) -> Iterator[str]:
    """What is wrong with what a submission says of itself, and with its records, a line each."""
    for read in (submission.configuration, submission.verification):
        try:
            read()
        except ValueError as error:
            yield str(error)
    yield from find_problems(submission.results)


def _alone(path: Path, record: dict) -> Iterator[str]:
    """Problems of one record."""
    try:
        check_place(path, record["cell"])
    except UnreadableError as error:
        yield error.reason
    cell, config, sparsity = Cell(**record["cell"]), record["config"], record["sparsity"]
    found = digest_of(config["resolved"])
    if config["hash"] != found:
        yield f"config.hash = {config['hash'][:12]}: the resolved configuration has {found[:12]}"
    git = record["provenance"]["git"]
    if git is None or git["dirty"]:
        found = "outside a checkout" if git is None else "a working tree with changes"
        yield f"provenance.git: {found}; allowed: a commit alone"
    if cell.pruner not in (DENSE, *PRUNERS):
        yield f"cell.pruner = {cell.pruner!r}: allowed: {', '.join([DENSE, *PRUNERS])}"
        return
    method = method_of(cell.repair, config["resolved"])
    if method not in REPAIRS:
        key = "cell.repair" if method == cell.repair else "config.resolved.repair.of"
        yield f"{key} = {method!r}: allowed: {', '.join(REPAIRS)}"
        return
    try:
        requested = 0.0 if cell.pruner == DENSE else Pattern.parse(cell.pattern).sparsity
    except ValueError as error:
        yield f"cell.pattern: {error}"
        return
    if sparsity["requested"] != requested:
        yield f"sparsity.requested = {sparsity['requested']:g}: {cell.pattern} is {requested:g}"
    if record["status"] != "ok":
        return
    if record["samples"] is None:
        yield "samples = None: allowed: the path of its results item by item"
    layers = (sparsity["layers"] or {}).values()
    if sparsity["achieved"] is None or not layers:
        yield "sparsity.achieved: missing; allowed: as measured on the evaluated weights"
    else:
        achieved, allowed = sparsity["achieved"], None
        keeps = cell.pruner != DENSE and REPAIRS[method].keeps_sparsity
        if keeps and abs(achieved - requested) > SPARSITY_TOLERANCE:
            allowed = f"{requested:g} within {SPARSITY_TOLERANCE:.4f}"
        elif not min(layers) - ROUNDING <= achieved <= max(layers) + ROUNDING:
            allowed = f"{min(layers):.4f} to {max(layers):.4f}, as its layers have"
        if allowed is not None:
            yield f"sparsity.achieved = {achieved:.4f}: allowed: {allowed}"
    training = record["stages"]["repair"]
    ran = {"prune": cell.pruner != DENSE, "repair": cell.repair != UNREPAIRED, "evaluate": True}
    for stage, needed in ran.items():
        if needed and record["stages"][stage] is None:
            yield f"stages.{stage}: missing; allowed: what it cost"
    if training is not None and training["tokens"] != budget_tokens(record):
        allowed = f"{budget_tokens(record)}, as config.resolved.training says"
        yield f"stages.repair.tokens = {training['tokens']}: allowed: {allowed}"
    for metric in record["metrics"]:
        settings = config["resolved"]["evaluation"]["tasks"].get(metric["task"], {})
        for key in settings.keys() & {"limit", "few_shot"}:
            if metric[key] != settings[key]:
                yield f"metrics.{metric['task']}.{key} = {metric[key]}: allowed: {settings[key]}"
        name, value = metric["metric"], metric["value"]
        low, high = score_range(name)
        if value is None or not low <= value <= high:
            yield f"metrics.{metric['task']}.{name} = {value}: allowed: {low} to {high}"


def _items(record: dict, samples: Samples) -> Iterator[str]:
    """Problems of the results item by item."""
    yield from sample_problems(record, samples)
    entries = {(entry["task"], entry["metric"]): entry for entry in record["metrics"]}
    for task, settings in record["config"]["resolved"]["evaluation"]["tasks"].items():
        metric, limit = settings["metric"], settings["limit"]
        entry = entries.get((task, metric))
        # A group is limited in each of its tasks.
        if entry and limit is not None and entry["n"] != limit * entry.get("tasks", 1):
            yield f"metrics.{task}.n = {entry['n']}: allowed: limit = {limit}"
        if not has_values(samples.get(task, []), metric):
            yield f"samples of {task}: no {metric}"


def _together(
    records: dict[str, dict], samples: dict[str, tuple[dict[str, str], str]]
) -> Iterator[str]:
    """Problems between records: what is compared must be comparable.

    Args:
        records: by name.
        samples: digests of the ids of each task's items, and of all results item by item.
    """
    cells = {Cell(**record["cell"]) for record in records.values()}
    for model in sorted({cell.model for cell in cells}):
        if dense_cell(model) not in cells:
            yield f"{model}: the dense model has no record"
    for cell in sorted({Cell(c.model, c.pruner, c.pattern, UNREPAIRED, 0) for c in cells}):
        if cell not in cells:
            yield f"{cell.model}, {cell.base}: the unrepaired base has no record"
    yield from _layers(records)
    yield from (f"{name}: {reason}" for name, reason in differences(records))
    first: dict[tuple, tuple[str, str]] = {}
    seen: dict[tuple, str] = {}
    for name, (ids, digest) in samples.items():
        cell = Cell(**records[name]["cell"])
        for task, found in ids.items():
            other, expected = first.setdefault((cell.model, task), (name, found))
            if found != expected:
                yield f"{name}: items of {task}: not the same as in {other}"
        key = (cell.model, cell.base, cell.repair, digest)
        if key in seen:
            yield f"{name}: the same results as {seen[key]}; allowed: those of its own training"
        seen[key] = name


def local_problems(root: Path, records: dict[str, dict]) -> Iterator[str]:
    """Problems of what records were made from, where that is here; every file is read."""
    checked: dict[str, str | None] = {}
    for name, record in records.items():
        inputs = record.get("inputs") or {}
        for what, made in (inputs.get("identities") or {}).items():
            path = inputs.get(what)
            if not isinstance(path, str) or not _is_below(root, path):
                continue
            if path not in checked:
                checked[path] = None
                try:
                    verify(root / path, whole=True)
                    checked[path] = identity(root / path)
                except UnreadableError as error:
                    yield str(error)
            if checked[path] not in (None, made):
                yield f"{name}: inputs.{what}: {path} has changed since; run the cell again"


def _is_below(root: Path, path: str) -> bool:
    """Whether a path of a record lies in the folder of the run, and is there."""
    parts = Path(path).parts
    return ".." not in parts and not Path(path).is_absolute() and is_there(root / path)


def _layers(records: dict[str, dict]) -> Iterator[str]:
    """Layers that are not as sparse as the unrepaired base's, where the repair keeps sparsity."""
    bases = {Cell(**record["cell"]): record["sparsity"]["layers"] for record in records.values()}
    for name, record in records.items():
        cell, layers = Cell(**record["cell"]), record["sparsity"]["layers"]
        base = bases.get(Cell(cell.model, cell.pruner, cell.pattern, UNREPAIRED, 0))
        method = REPAIRS.get(method_of(cell.repair, record["config"]["resolved"]))
        if not layers or not base or method is None or not method.keeps_sparsity:
            continue
        for layer in base | layers:
            value, expected = layers.get(layer), base.get(layer)
            if None in (value, expected) or abs(value - expected) > SPARSITY_TOLERANCE:
                found = "missing" if value is None else f"{value:.4f}"
                wanted = "no such layer" if expected is None else f"{expected:.4f}"
                yield f"{name}: sparsity.layers.{layer} = {found}: in the base: {wanted}"


def main() -> None:
    parser = argparse.ArgumentParser(description="Check records that come from elsewhere.")
    parser.add_argument("folder", type=Path, help=f"one that holds cells/, or {ABOUT}")
    folder = parser.parse_args().folder
    submission = Submission(folder)
    is_one = (folder / ABOUT).is_file()
    problems = list(submission_problems(submission) if is_one else find_problems(folder))
    for problem in problems:
        print(problem)
    if problems:
        parser.exit(1)
    records = submission.paths if is_one else list(folder.glob("cells/**/record.json"))
    state = f", {submission.state()}" if is_one else ""
    print(f"{folder}: {len(records)} records, no problems{state}")
