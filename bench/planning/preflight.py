"""Problems that show only when one looks at the files, found before any job starts."""

import sys
from collections.abc import Iterator
from pathlib import Path

from bench.claims.spec import CLAIMS_FILE, ClaimsError, load_claims
from bench.config import Config
from bench.files import read_json
from bench.models.shape import pattern_problems, read_shape
from bench.sources import PathSource
from bench.tables.reproduction import ReferencesError, read_references, reference_files


def check_or_exit(config: Config) -> None:
    """End the process with one line a problem, exit status 1, if there is any."""
    problems = list(dict.fromkeys(find_problems(config)))
    if problems:
        sys.exit("\n".join(f"config: {problem}" for problem in problems))


def find_problems(config: Config) -> Iterator[str]:
    """What is wrong with the claims, the published numbers, local paths, and models that are on
    the machine already.
    """
    for load, source in ((load_claims, CLAIMS_FILE), (read_references, reference_files())):
        try:
            load(source)
        except (ClaimsError, ReferencesError) as error:
            yield from str(error).splitlines()
    for name in config.grid.models:
        key = f"models.{name}.source.path"
        source = config.models[name].source
        folder = Path("resources/models") / name
        if isinstance(source, PathSource):
            folder = source.path.expanduser()
            if not folder.is_dir():
                yield f"{key} = {str(source.path)!r}: no such folder"
                continue
            if not (folder / "config.json").is_file():
                yield f"{key} = {str(source.path)!r}: has no config.json; allowed: a model's folder"
                continue
        if (folder / "config.json").is_file():
            yield from _model_problems(config, name, folder)
    for name, source in config.sources.items():
        if not isinstance(source, PathSource):
            continue
        path = source.path.expanduser()
        key = f"sources.{name}.path = {str(source.path)!r}"
        if not path.exists():
            yield f"{key}: no such file or folder"
            continue
        for data, spec in config.data.items():
            for file in spec.files if spec.source == name else ():
                if not (path / file if path.is_dir() else path.parent / file).is_file():
                    yield f"data.{data}.files = {file!r}: no such file in {str(source.path)!r}"
                elif data == config.calibration.data:
                    yield from _text_problems(config, (path / file).stat().st_size)


def _model_problems(config: Config, name: str, folder: Path) -> Iterator[str]:
    settings = read_json(folder / "config.json")
    architectures = settings.get("architectures") or []
    if not any(a.endswith(("ForCausalLM", "LMHeadModel")) for a in architectures):
        yield f"models.{name} = {architectures}: allowed: a causal language model"
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


def _text_problems(config: Config, size: int) -> Iterator[str]:
    tokens = config.calibration.samples * config.calibration.length
    if tokens > size:
        yield (
            f"calibration.samples = {config.calibration.samples}: with length "
            f"{config.calibration.length} that is {tokens} tokens; allowed: at most the {size} "
            f"bytes of {config.calibration.data!r}"
        )
