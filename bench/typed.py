"""What the types of all files have in common."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
)

from baselines.problems import explained
from bench.files import UnreadableError, read_json

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
# With what is put before and after them, names are names of files.
LONGEST = 100


class Strict(BaseModel):
    """Keys that it does not have are refused, and so are numbers that are not finite."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


def check_name(name: str) -> str:
    """The name, if it may be a part of paths.

    Raises:
        ValueError: It may not; what is allowed.
    """
    # pandas takes a name "nan" for what is missing.
    if not NAME.fullmatch(name) or len(name) > LONGEST or name.lower() == "nan":
        raise ValueError(
            "allowed: a name of letters, digits, '.', '_' and '-' that begins with a letter or a "
            f"digit, of at most {LONGEST} characters, and is not nan"
        )
    return name


def once(what: str, name: Callable[[Any], Any] = str) -> AfterValidator:
    """Of a list: no entry, which a message calls ``what`` and by its name, is repeated."""

    def check(values: list) -> list:
        names = list(map(name, values))
        repeated = sorted({one for one in names if names.count(one) > 1})
        if repeated:
            raise ValueError(f"allowed: each {what} once; repeated: {', '.join(repeated)}")
        return values

    return AfterValidator(check)


def _not_null(entries: dict) -> dict:
    given = {name: entry for name, entry in entries.items() if entry is not None}
    if not given:
        raise ValueError("allowed: at least one entry that is not null")
    return given


Name = Annotated[str, AfterValidator(check_name)]
"""A name that is a part of paths."""

Text = Annotated[str, Field(min_length=1)]

NotNull = AfterValidator(_not_null)
"""Of a mapping: null leaves out an entry that a configuration underneath has; not all of them."""

EachOnce = once("entry")
"""Of a list: no entry is repeated."""

Seed = Annotated[int, Field(ge=0, le=2**32 - 1)]
"""What every generator of random numbers takes, NumPy's among them."""

Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]

Commit = Annotated[str, Field(pattern="^[0-9a-f]{40}$")]

Length = Annotated[int, Field(ge=2)]
"""Tokens of a sequence in which a next one is predicted."""


def read_as(kind: Any, path: str | Path, read: Callable[[str | Path], Any] = read_json) -> Any:
    """What a file holds, as it was read, if it is of a type.

    Raises:
        UnreadableError: It is not; one line.
    """
    found, adapter = read(path), TypeAdapter(kind)
    try:
        adapter.validate_python(found)
    except ValidationError as error:
        problem = str(next(explained(error, adapter)))
        raise UnreadableError(path, problem.partition("\n")[0]) from None
    return found
