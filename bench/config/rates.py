"""Learning rates of budgets that none was chosen for: from those next to them."""

from collections.abc import Mapping
from math import exp, log


def around(rates: Mapping[str, float], tokens: Mapping[str, int], budget: str) -> dict[str, float]:
    """The rates of the budgets next to one: below it and above it, or on the one side there is.

    Args:
        rates: by the budgets that have one; at least one.
        tokens: of these, and of ``budget``.
        budget: that has no rate.
    """
    names = sorted(rates, key=tokens.get)
    below = [name for name in names if tokens[name] <= tokens[budget]]
    above = [name for name in names if tokens[name] >= tokens[budget]]
    return {name: rates[name] for name in (*below[-1:], *above[:1])}


def interpolated(rates: Mapping[str, float], tokens: Mapping[str, int], budget: str) -> float:
    """The rate at a budget between two, on the line through them in log rate and log tokens.

    Beyond all that have one it is the nearest one's. It has four digits: the sweep that it comes
    from does not tell more.

    Args:
        rates: what :func:`around` returned.
        tokens: as there.
        budget: as there.
    """
    (first, low), *_, (last, high) = [*rates.items()] * 2
    begin, here, end = (log(tokens[name]) for name in (first, budget, last))
    share = (here - begin) / (end - begin) if end > begin else 0
    return float(f"{exp((1 - share) * log(low) + share * log(high)):.4g}")
