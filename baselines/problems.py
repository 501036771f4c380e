"""What is wrong with values that people write, as lines ``key = value: what is allowed``."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from reprlib import Repr
from typing import Any, TypeVar

from pydantic import BaseModel, TypeAdapter, ValidationError

T = TypeVar("T")
MISSING = object()
# What every reader of the files that the benchmark writes can hold.
LARGEST = 2**63


@dataclass(frozen=True)
class Problem:
    """Something that is wrong, with its place.

    Attributes:
        keys: The keys that lead to it, from the top; numbers are places in lists.
        said: What is wrong, or what is allowed; where it has lines, each is a problem.
        value: What was given; ``MISSING`` where there is nothing to show.
    """

    keys: tuple
    said: str
    value: Any = MISSING

    def __str__(self) -> str:
        keys = ".".join(key if isinstance(key, str) else shown(key) for key in self.keys)
        value = "" if self.value is MISSING else shown(self.value)
        place = " = ".join(part for part in (keys, value) if part)
        lines = self.said.splitlines()
        return "\n".join(f"{place}: {line}" if place else line for line in lines)


class MisfitError(ValueError):
    """Values that do not fit their type; the message has a line for each problem."""

    def __init__(self, problems: Sequence[Problem]):
        self.problems = list(problems)
        super().__init__("\n".join(dict.fromkeys(map(str, problems))))


def validated(kind: TypeAdapter[T], values: Any) -> T:
    """Values as what they stand for. Booleans are no numbers, and a number must fit 64 bits.

    Args:
        kind: The type to make of them.
        values: As they were read from a file.

    Raises:
        MisfitError: They do not fit the type.
    """
    problems, found = [], None
    try:
        problems += _no_numbers(values, kind)
        found = kind.validate_python(values)
    except ValidationError as error:
        problems += explained(error, kind)
    except RecursionError:
        problems += [Problem((), "nested too deeply")]
    if problems:
        raise MisfitError(problems)
    return found


def explained(error: ValidationError, kind: TypeAdapter) -> Iterator[Problem]:
    """The problems that pydantic found, where it looked for what ``kind`` says."""
    for problem in error.errors():
        # The keys that such a default follows from have errors of their own.
        if problem["type"] != "default_factory_not_called":
            yield _explained(problem, _schema(kind))


def misfit(method: str, error: ValidationError, options: type[BaseModel]) -> ValueError:
    """What is wrong with the options of a method: one line."""
    problems = "; ".join(map(str, explained(error, TypeAdapter(options))))
    known = ", ".join(options.model_fields) or "none"
    return ValueError(f"{method}: {problems} (its options: {known})")


class _Short(Repr):
    """One line of a value, whatever it is."""

    def __init__(self):
        super().__init__()
        self.maxstring = self.maxother = 60
        self.maxlist, self.maxlevel = 12, 4

    def repr_int(self, value: int, level: int) -> str:
        # Python refuses to write numbers of more than 4,300 digits.
        return repr(value) if abs(value) < LARGEST else f"about 2**{value.bit_length()}"


def shown(value: Any) -> str:
    """A value as a message shows it: in short."""
    return _SHORT.repr(value)


_SHORT = _Short()


@cache
def _schema(kind: TypeAdapter) -> dict:
    return kind.json_schema()


def _explained(problem: dict, schema: dict) -> Problem:
    location, value, context = problem["loc"], problem["input"], problem.get("ctx", {})
    if location[-1:] == ("[key]",):
        # The key is the value that is wrong.
        keys, node = _walk(location[:-2], schema)
        return Problem(keys, _allowed(problem, node, schema), location[-2])
    if problem["type"] in ("missing", "extra_forbidden"):
        keys, node = _walk(location[:-1], schema)
        if isinstance(location[-1], int):
            items = _resolved(node, schema)["prefixItems"]
            return Problem(keys, f"allowed: {len(items)} items", value)
        allowed = f"allowed keys: {', '.join(_keys(node, schema))}"
        if problem["type"] == "missing":
            return Problem((*keys, location[-1]), f"missing; {allowed}")
        return Problem((*keys, location[-1]), f"unknown key; {allowed}", value)
    keys, node = _walk(location, schema)
    if problem["type"] in ("union_tag_invalid", "union_tag_not_found"):
        key = context["discriminator"].strip("'")
        allowed = f"allowed: {', '.join(_mapping(node, schema))}"
        if problem["type"] == "union_tag_invalid":
            return Problem((*keys, key), allowed, context["tag"])
        return Problem((*keys, key), f"missing; {allowed}")
    # What a model says of its keys together names them.
    together = problem["type"] == "value_error" and _keys(node, schema)
    return Problem(keys, _allowed(problem, node, schema), MISSING if together else value)


OTHER_WORDS = {
    "int_parsing_size": "a number of at most 63 bits",
    "invalid_key": "keys that are texts",
    "path_type": "a path",
}
# What pydantic says besides what is allowed.
BESIDES = r" after validation.*| or instance of .*|, (?:unable|got) .*"


def _allowed(problem: dict, node: dict, schema: dict) -> str:
    """What is allowed in the place of a value, in the words that pydantic has for it."""
    kind, message, keys = problem["type"], problem["msg"], _keys(node, schema)
    if kind == "value_error":
        return message.removeprefix("Value error, ")
    if kind in ("model_type", "dict_type", "model_attributes_type") and keys:
        return f"allowed keys: {', '.join(keys)}"
    if kind in OTHER_WORDS:
        return f"allowed: {OTHER_WORDS[kind]}"
    words = re.fullmatch(rf"\w+ should (?:be |have )?(.*?)(?:{BESIDES})?", message)
    said = f"allowed: {words[1]}" if words else message
    return said.replace("allowed: match pattern", "allowed: what matches")


def _no_numbers(values: Any, kind: TypeAdapter) -> Iterator[Problem]:
    """Booleans in the place of numbers, which pydantic takes for 0 and 1, and endless numbers."""
    schema = _schema(kind)

    def below(value: Any, node: dict, keys: tuple) -> Iterator[Problem]:
        if isinstance(value, Mapping):
            node = _resolved(node, schema)
            tag = value.get(node.get("discriminator", {}).get("propertyName"))
            node = _mapping(node, schema).get(tag, node) if isinstance(tag, str) else node
            for key, part in value.items():
                yield from below(part, _step(node, key, schema) or {}, (*keys, key))
        elif isinstance(value, list | tuple):
            for place, part in enumerate(value):
                yield from below(part, _step(node, place, schema) or {}, (*keys, place))
        elif isinstance(value, bool):
            types = set(_types(node, schema))
            if types & {"integer", "number"} and "boolean" not in types:
                yield Problem(keys, "allowed: a number", value)
        elif isinstance(value, int) and abs(value) >= LARGEST:
            yield Problem(keys, "allowed: a number of at most 63 bits", value)

    return below(values, schema, ())


def _walk(location: Sequence, schema: dict) -> tuple[tuple, dict]:
    """The keys among the parts of a location, and the schema of what lies there.

    The other parts are tags: which branch of a union pydantic has tried.
    """
    keys, node = [], schema
    for part in location:
        branches = _mapping(node, schema)
        if part in branches:
            node = branches[part]
            continue
        found = _step(node, part, schema)
        if found is not None or _is_open(_resolved(node, schema)):
            keys.append(part)
            node = found or {}
    return tuple(keys), node


def _is_open(node: dict) -> bool:
    """Whether there can be keys that the schema does not name."""
    return not node or node.get("additionalProperties") is True


def _resolved(node: dict, schema: dict) -> dict:
    """A node without references, and without null as an alternative."""
    while True:
        branches = [branch for branch in node.get("anyOf", []) if branch.get("type") != "null"]
        if "$ref" in node:
            node = schema["$defs"][node["$ref"].rpartition("/")[2]]
        elif len(branches) == 1:
            (node,) = branches
        else:
            return node


def _branches(node: dict) -> list[dict]:
    return [*node.get("anyOf", []), *node.get("oneOf", [])]


def _mapping(node: dict, schema: dict) -> dict[str, dict]:
    """The branches of a union that a key tells apart, by that key's value."""
    mapping = _resolved(node, schema).get("discriminator", {}).get("mapping", {})
    return {tag: {"$ref": reference} for tag, reference in mapping.items()}


def _step(node: dict, part, schema: dict) -> dict | None:
    """The schema of a part of what ``node`` describes; None if it describes no such part."""
    node = _resolved(node, schema)
    if isinstance(part, int) and node.get("type") == "array":
        items = node.get("prefixItems", [])
        return items[part] if part < len(items) else node.get("items", {})
    if part in node.get("properties", {}):
        return node["properties"][part]
    if isinstance(node.get("additionalProperties"), dict):
        return node["additionalProperties"]
    found = (_step(branch, part, schema) for branch in _branches(node))
    return next((step for step in found if step is not None), None)


def _keys(node: dict, schema: dict) -> list[str]:
    """The keys that are allowed where ``node`` describes what lies there."""
    node = _resolved(node, schema)
    below = (key for branch in _branches(node) for key in _keys(branch, schema))
    return list(dict.fromkeys([*node.get("properties", {}), *below]))


def _types(node: dict, schema: dict) -> Iterator[str]:
    node = _resolved(node, schema)
    if "type" in node:
        yield node["type"]
    for branch in _branches(node):
        yield from _types(branch, schema)
