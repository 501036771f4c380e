"""Problems that show only when one looks at the files, found before any job starts."""

import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from bench.claims.spec import CLAIMS_FILE, load_claims
from bench.config.variants import training_of
from bench.config.whole import Config
from bench.evaluation.tasks import (
    ANSWER_BPB,
    FACTS,
    PERPLEXITY,
    TaskSpec,
    local_tasks,
    own_tasks,
)
from bench.files import UnreadableError
from bench.models.shape import length_problems, pattern_problems, read_shape
from bench.origin import MANIFEST, OriginError, contents_identity, source_of, verify
from bench.paths import is_there
from bench.records.measures import ANSWERS, AVERAGE
from bench.records.record import data_config
from bench.sources import PathSource
from bench.sources.checkpoint import causal_problem, read_settings
from bench.tables.reproduction import read_references, reference_files
from bench.tables.table1 import BESIDE_SCORES, OF_A_SCORE
from bench.typed import read_as

RESOURCES = Path("resources")
# Files that hold more text than they have bytes.
PACKED = (".gz", ".parquet")
HOLDS_WORK = "holds the working folder; allowed: a file, or a folder of its own"


class _OwnFacts(BaseModel):
    """What is looked at of a task of lm-eval's own."""

    items: int
    metrics: list[str]


class _Prepared(BaseModel):
    """What is looked at in the manifest of a data set."""

    made_from: dict[str, Any]
    items: dict[str, int]


def exit_on(found: Iterator[str]) -> None:
    """End the process with one line a problem, exit status 1, if there is any."""
    try:
        problems = list(dict.fromkeys(found))
    except UnreadableError as error:
        sys.exit(str(error))
    if problems:
        sys.exit("\n".join(f"config: {problem}" for problem in problems))


def find_problems(config: Config) -> Iterator[str]:
    """What is wrong with the claims, the published numbers, local paths, and models and items that
    are on the machine already.
    """
    if Path(config.checkpoints).exists() and not Path(config.checkpoints).is_dir():
        yield f"checkpoints = {config.checkpoints!r}: is a file; allowed: a folder"
    yield from task_problems(config)
    for load, source in ((load_claims, CLAIMS_FILE), (read_references, reference_files())):
        try:
            load(source)
        except ValueError as error:
            yield from str(error).splitlines()
    for name in config.grid.models:
        source = config.models[name].source
        problem = _path_problem(source.place) if isinstance(source, PathSource) else None
        if problem is not None:
            yield f"models.{name}.source.path = {str(source.path)!r}: {problem}"
        elif (folder := config.models[name].folder(name)) is not None:
            yield from _model_problems(config, name, folder)
    for name, source in config.sources.items():
        if not isinstance(source, PathSource):
            continue
        path = source.place
        key = f"sources.{name}.path = {str(source.path)!r}"
        if not is_there(path):
            yield f"{key}: no such file or folder"
            continue
        if _holds_work(path):
            yield f"{key}: {HOLDS_WORK}"
        folder = path if path.is_dir() else path.parent
        for data, spec in config.data.items():
            files = {file: folder / file for file in spec.files if spec.source == name}
            missing = [file for file, place in files.items() if not place.is_file()]
            for file in missing:
                yield f"data.{data}.files = {file!r}: no such file in {str(source.path)!r}"
            packed = any(file.endswith(PACKED) for file in files)
            if files and not missing and not packed and data == config.calibration.data:
                size = sum(place.stat().st_size for place in files.values())
                yield from _text_problems(config, size)


def _holds_work(path: Path) -> bool:
    """Whether what is written here would be taken for what it is made from."""
    return Path.cwd().is_relative_to(path.resolve())


def _path_problem(path: Path) -> str | None:
    """Why a path is not that of a model; None if it is."""
    if not is_there(path):
        return "no such file or folder"
    if not (path / "config.json").is_file() and not (path.is_file() and path.suffix == ".gguf"):
        return "has no config.json; allowed: a model's folder, or a file that ends in .gguf"
    if _holds_work(path):
        return HOLDS_WORK
    return None


def task_problems(config: Config) -> Iterator[str]:
    """What is wrong with the tasks, as soon as their items are there: names of columns, names that
    lm-eval does not know, limits above the items there are, more examples than other items, and
    metrics that a task of lm-eval's own does not have.
    """
    taken = {*BESIDE_SCORES, AVERAGE, ANSWERS}
    ends = (f"_{PERPLEXITY}", f"_{ANSWER_BPB}", *filter(None, OF_A_SCORE))
    for name, task in config.evaluation.tasks.items():
        if name in taken or name.endswith(ends):
            yield f"evaluation.tasks = {name!r}: allowed: another name than a column of tables has"
        facts = _facts(config, name, task)
        if facts is None:
            if task.data is None and name not in own_tasks():
                local = ", ".join(local_tasks())
                yield (
                    f"evaluation.tasks = {name!r}: unknown; allowed: a task or a group of "
                    f"lm-eval's, which a tag is not, or with data one of config/tasks: {local}"
                )
            continue
        key, items = f"evaluation.tasks.{name}", facts["items"]
        if task.windows == "rolling" and task.limit is not None and task.limit > items:
            yield f"{key}.limit = {task.limit}: allowed: at most {items}, the items there are"
        if task.data is not None and task.few_shot >= items:
            yield f"{key}.few_shot = {task.few_shot}: allowed: at most {items - 1}, the other items"
        if task.data is None and task.metric not in facts["metrics"]:
            found = ", ".join(facts["metrics"]) or "none: it has no average over all items"
            yield f"{key}.metric = {task.metric!r}: allowed: {found}"


def _facts(config: Config, name: str, task: TaskSpec) -> dict | None:
    """What is known of the items of a task; None while they are not there as configured."""
    items = task.items(name, RESOURCES)
    if task.data is None:
        same = (source_of(items) or {}).get("revision", task.revision) == task.revision
        return read_as(_OwnFacts, items / FACTS) if same and (items / FACTS).is_file() else None
    path = items.with_name(MANIFEST)
    if not path.is_file():
        return None
    made = read_as(_Prepared, path)
    same = _is_still_made_so(config, task.data, made["made_from"])
    return {"items": made["items"][task.split]} if same else None


def _is_still_made_so(config: Config, data: str, made_from: dict) -> bool:
    """Whether a data set would be made of the same again; of files of the user's own, if these are
    as they were fetched.
    """
    if not data_config(config, [data])[data].items() <= made_from.items():
        return False
    source = config.data[data].source
    if not isinstance(config.sources[source], PathSource):
        return True
    with suppress(OriginError):
        fetched = verify(RESOURCES / "sources" / source)
        return contents_identity(fetched["files"]) == made_from.get("fetched")
    return False


def _model_problems(config: Config, name: str, folder: Path) -> Iterator[str]:
    problem = causal_problem(read_settings(folder))
    if problem is not None:
        yield f"models.{name}: {problem}"
    yield from length_problems(name, folder, _lengths(config, name))
    found, configured = read_shape(folder), config.models[name].shape
    if found is not None and configured is None:
        yield from pattern_problems(name, found, config.grid.patterns)
    elif found is not None:
        for key in sorted(found.model_fields_set):
            wrong, right = getattr(configured, key), getattr(found, key)
            if wrong != right:
                yield (
                    f"models.{name}.shape.{key} = {wrong}: allowed: {right}, "
                    "as its config.json says"
                )


def _lengths(config: Config, name: str) -> dict[str, int]:
    """Tokens of the sequences that a model of the grid is to see, by the key that says so."""
    lengths = {
        f"evaluation.tasks.{task}.context_length": spec.context_length
        for task, spec in config.evaluation_of(name).tasks.items()
        if spec.context_length is not None
    }
    if any(config.pruner(pruner).reads_calibration for pruner in config.grid.pruners):
        lengths["calibration.length"] = config.calibration.length
    if any(training_of(repair) is not None for repair in config.grid.repairs):
        lengths["training.length"] = config.training.length
    return lengths


def _text_problems(config: Config, size: int) -> Iterator[str]:
    tokens = config.calibration.samples * config.calibration.length
    if tokens > size:
        yield (
            f"calibration.samples = {config.calibration.samples}: with length "
            f"{config.calibration.length} that is {tokens} tokens; allowed: at most the {size} "
            f"bytes of {config.calibration.data!r}"
        )
