"""Figures: pure functions of the records' tables and histories.

A figure is a module of its name here, with a ``draw`` that takes the results of what it is of, and
returns None where there is nothing to show; and a caption, ``workflow/report/<name>.rst``.
"""

from collections.abc import Iterable

from bench.cells import suffix

# Of a model at a budget; of one pattern of that; and of one pattern over all budgets.
OF_MODEL = ("sparsity",)
OF_PATTERN = ("differences", "recovery", "pareto", "training", "topology", "moved")
OF_BUDGETS = ("budget",)

FORMATS = ("png", "svg", "pdf")
# Title of the file of a figure that no cell of the grid has anything for.
NOTHING = "nothing to show"


def places(
    model: str, patterns: Iterable[str], budgets: Iterable[str]
) -> dict[str, dict[str, str]]:
    """The figures of a model: by path below ``results/figures``, what each is of."""
    found = {}
    for budget in budgets:
        of, at = {"model": model, "budget": budget}, f"{model}{suffix(budget)}"
        found |= {f"{at}/{name}": {"figure": name, **of} for name in OF_MODEL}
        found |= {
            f"{at}/{pattern}/{name}": {"figure": name, **of, "pattern": pattern}
            for pattern in patterns
            for name in OF_PATTERN
        }
    return found | {
        f"{model}/{pattern}/{name}": {"figure": name, "model": model, "pattern": pattern}
        for pattern in patterns
        for name in OF_BUDGETS
    }
