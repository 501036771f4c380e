"""YAML and JSON files that people write, read strictly.

``python -m bench read config/smoke.yaml`` says in one line a file why it cannot be read: it is not
there, not UTF-8, neither JSON nor YAML, without keys, or with what YAML takes for something else
than its writer, such as a key that is given twice.
"""

import argparse
import json
import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import yaml

from bench.files import UnreadableError

# Far more than any configuration has; aliases of aliases make a few lines endless.
DEEPEST, LARGEST = 50, 100_000
TEXT, MERGE, *NUMBERS = (f"tag:yaml.org,2002:{tag}" for tag in ("str", "merge", "int", "float"))
# Of 010 and 1:30 YAML 1.1, which Snakemake reads too, makes 8 and 90.
OCTAL_OR_SEXAGESIMAL = re.compile(r"[-+]?0[0-7_]+|.*:.*")


def read_document(path: str | Path, loader: type[yaml.SafeLoader] = yaml.SafeLoader) -> Any:
    """What a file of JSON or of YAML holds. As Snakemake does, JSON is tried first.

    Args:
        path: of the file.
        loader: of YAML; it says what the tags mean that there may be.

    Raises:
        UnreadableError: It is not there, not UTF-8, neither JSON nor YAML, has other tags, gives a
            key twice, has one that is no text or a number that begins with 0, or is nested without
            end.
    """
    try:
        value = _parsed(Path(path).read_text(encoding="utf-8"), loader)
        _check_size(value)
    except OSError as error:
        raise UnreadableError(path, error.strerror or str(error)) from None
    except UnicodeDecodeError as error:
        raise UnreadableError(path, f"byte {error.start + 1}: allowed: text in UTF-8") from None
    except RecursionError:
        raise UnreadableError(path, "nested too deeply") from None
    except (yaml.YAMLError, ValueError) as error:
        raise UnreadableError(path, " ".join(str(error).split())) from None
    return value


def read_keys(path: str | Path, loader: type[yaml.SafeLoader] = yaml.SafeLoader) -> dict:
    """:func:`read_document` of a file that has keys at its top.

    Raises:
        UnreadableError: It cannot be read, or holds anything else.
    """
    value = read_document(path, loader)
    if not isinstance(value, dict):
        found = "nothing" if value is None else f"a {type(value).__name__}"
        raise UnreadableError(path, f"holds {found}; allowed: keys and their values")
    return value


def read_or_exit(files: Iterable[str | Path]) -> None:
    """End the process with one line a file that cannot be read, exit status 1, if there is any."""
    problems = []
    for file in files:
        try:
            read_keys(file)
        except UnreadableError as error:
            problems.append(f"config: {error}")
    if problems:
        sys.exit("\n".join(problems))


def _parsed(text: str, loader: type[yaml.SafeLoader]) -> Any:
    try:
        return json.loads(text, object_pairs_hook=each_once)
    except json.JSONDecodeError:
        pass
    reading = loader(text)
    try:
        node = reading.get_single_node()
        if node is None:
            return None
        for problem in _misread(node):
            raise ValueError(problem)
        return reading.construct_document(node)
    finally:
        reading.dispose()


def each_once(pairs: list[tuple[str, Any]]) -> dict:
    """The keys and values of an object of JSON; a ``ValueError`` names a key that is repeated."""
    keys = [key for key, _ in pairs]
    for key in keys:
        if keys.count(key) > 1:
            raise ValueError(f"{key}: given twice; allowed: each key once")
    return dict(pairs)


def _misread(root: yaml.Node) -> Iterator[str]:
    """What YAML takes for something else than its writer, in a line each: keys that a mapping gives
    twice or that are no text, such as ``no``, and numbers such as ``010``.
    """
    waiting, seen = [(root, ())], set()
    while waiting:
        node, place = waiting.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        if isinstance(node, yaml.MappingNode):
            yield from _misread_keys(node, place)
            waiting += [(value, (*place, key.value)) for key, value in node.value]
        elif isinstance(node, yaml.SequenceNode):
            waiting += [(item, (*place, i)) for i, item in enumerate(node.value)]
        elif node.tag in NUMBERS and OCTAL_OR_SEXAGESIMAL.fullmatch(node.value):
            yield (
                f"{_at(node, place)} = {node.value}: allowed: a number in decimals, which begins "
                "with no 0, or a text in quotes"
            )


def _misread_keys(mapping: yaml.MappingNode, place: tuple) -> Iterator[str]:
    keys = set()
    for key, _ in mapping.value:
        if not isinstance(key, yaml.ScalarNode) or key.tag == MERGE:
            continue
        if key.value in keys:
            yield f"{_at(key, (*place, key.value))}: given twice; allowed: each key once"
        if key.tag != TEXT:
            yield f"{_at(key, (*place, key.value))}: no text; allowed: keys that are, in quotes"
        keys.add(key.value)


def _at(node: yaml.Node, place: tuple) -> str:
    return f"line {node.start_mark.line + 1}: {'.'.join(map(str, place))}"


def _check_size(value: Any) -> None:
    waiting, count = [(value, 0)], 0
    while waiting:
        value, depth = waiting.pop()
        count += 1
        if depth > DEEPEST or count > LARGEST:
            raise ValueError(
                f"allowed: at most {DEEPEST} levels and {LARGEST:,} values, aliases written out"
            )
        parts = value.values() if isinstance(value, dict) else value
        if isinstance(value, dict | list):
            waiting += [(part, depth + 1) for part in parts]


def main() -> None:
    parser = argparse.ArgumentParser(description="Say whether files of keys can be read.")
    parser.add_argument("files", type=Path, nargs="*", help="of YAML or JSON")
    files = parser.parse_args().files
    if not files:
        sys.exit("config: no file; allowed: one or more")
    read_or_exit(files)
