"""Variants: a registered repair with other options, as a repair of its own.

The configuration names it and says what it is a variant ``of``. From then on it is a repair like
any other, in the grid, in paths and in tables, and it trains by itself. Its resolved options, in
a job as in a record, hold ``of``: so what is made of records needs no configuration.
"""

import json
from collections.abc import Iterable

from baselines.repair import REPAIRS
from bench.cells import place, sender_of, sent_name


def method_of(repair: str, resolved: dict) -> str:
    """The registered repair that a cell's repair is, or is a variant of.

    Args:
        repair: of the cell; of a submission's, behind the submission's name.
        resolved: its resolved configuration.
    """
    _, name = sender_of(repair)
    return name if name in REPAIRS else (resolved.get("repair") or {}).get("of", name)


def training_of(repair: str) -> str | None:
    """Name of the training that a repair merges, None for no training; a variant has its own."""
    return REPAIRS[repair].training if repair in REPAIRS else repair


def place_of(repair: str) -> tuple:
    """What repairs are sorted by: registered ones in their order, then variants by name."""
    return place(repair, list(REPAIRS))


def changes(records: Iterable[dict]) -> dict[str, tuple[str, str]]:
    """The variants among the repairs of records: of which repair, and in words what they change.

    A registered repair can be a variant of another one, too: what makes it the one that it is are
    options that are no longer its own. One of a submission is a variant of the submission's own,
    if that was sent. Options are compared at the same budget.
    """
    variant_of, options = {}, {}
    for record in records:
        name, resolved = record["cell"]["repair"], record["config"]["resolved"]
        method, own = REPAIRS.get(method_of(name, resolved)), resolved.get("repair") or {}
        if method is not None:
            at = options.setdefault(name, {})
            at[record["cell"]["budget"]] = method.Options.fixed | own
            variant_of[name] = own.get("of", method.variant_of)
    found = {}
    for name, of in variant_of.items():
        if of is not None:
            submission, _ = sender_of(name)
            own = sent_name(submission, of)
            of = own if own in options else of
            found[name] = of, _changed(options[name], options.get(of, {}))
    return found


def _changed(options: dict[str, dict], default: dict[str, dict]) -> str:
    """What differs, by budget, in words: once where it is the same at each."""
    at = [_difference(changed, default.get(budget, {})) for budget, changed in options.items()]
    return "; ".join(filter(None, dict.fromkeys(at)))


def _difference(options: dict, default: dict) -> str:
    return ", ".join(
        f"{key}: {shown(value)} instead of {shown(default[key])}"
        for key, value in options.items()
        if key in default and value != default[key]
    )


def shown(value) -> str:
    """The value of an option, as a configuration has it."""
    if isinstance(value, float):
        return f"{value:g}"
    return value if isinstance(value, str) else json.dumps(value)
