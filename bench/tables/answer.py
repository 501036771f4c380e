"""What a grid says of each of its bases: a sentence, and every repair against a reference."""

from collections.abc import Iterator
from dataclasses import dataclass

import pandas as pd

from bench.cells import BASE, DEFAULT_BUDGET, DENSE, NO_BUDGET, UNREPAIRED
from bench.records.measures import (
    MEMORY,
    SEVERAL,
    TIME,
    WAITED,
    Kind,
    beside_others,
    chief_scores,
    kinds_of,
)
from bench.statistics.comparisons import Verdict, less, reference_of
from bench.tables.rendering import rounded
from bench.tables.table1 import rows_by

MINUS = "\N{MINUS SIGN}"


@dataclass(frozen=True)
class Answer:
    """What is known of one base, repaired at one budget, in one score.

    Attributes:
        base: its model, pruner, pattern and budget.
        sentence: which repairs are best, by how much, how surely, and at what cost.
        scores: by repair, of what is ranked: as sparse as was asked, and compared item by item.
        against: of these, but the reference, the row of
            :func:`bench.statistics.comparisons.less`.
        judged: whether repairs are told apart: there is more than one seed.
        best: the repairs of the best tie group, where it is judged and that tells repairs apart.
    """

    base: tuple
    sentence: str
    scores: dict[str, float]
    against: dict[str, dict]
    judged: bool
    best: frozenset[str]


def answers(
    scores: pd.DataFrame, comparisons: pd.DataFrame, costs: pd.DataFrame, task: str
) -> Iterator[Answer]:
    """The answer for each base and budget that something was repaired of.

    Args:
        scores: ``results/scores.csv``.
        comparisons: ``results/comparisons.csv``.
        costs: ``results/table1.csv``.
        task: the score that the answers are in.
    """
    kind, reference = kinds_of(scores)[task], reference_of(scores["repair"])
    measured = scores[scores["task"] == task].dropna(subset="mean")
    pairs = comparisons[comparisons["task"] == task]
    seeds = pairs.groupby(BASE)["seeds"].max().to_dict()
    repairs = measured["repair"].unique()
    against = {name: rows_by(less(pairs, name), BASE, "repair") for name in repairs}
    rows, spent = (rows_by(table, BASE, "repair") for table in (measured, costs))
    dense = measured[measured["pruner"] == DENSE].set_index("model")["mean"].to_dict()
    # Nothing that was trained of a base need have a score.
    for base in spent:
        if base[-1] == NO_BUDGET:
            continue
        trained = rows.get(base, {})
        untrained = rows.get((*base[:-1], NO_BUDGET), {})
        ours = [*untrained.values(), *trained.values()]
        ours.sort(key=lambda row: row["mean"], reverse=not kind.lower_is_better)
        ranked = {row["repair"]: row for row in ours if pd.notna(row["tie_group"])}
        compared = {name: found.get(base, {}) for name, found in against.items()}
        ends = [f"unrepaired {short(row['mean'])}" for row in untrained.values()]
        ends += [f"dense {short(dense[base[0]])}"] if base[0] in dense else []
        said = _best(ranked, compared, spent[base], kind, reference)
        judged = seeds.get(base, 1) > 1
        yield Answer(
            base,
            "; ".join([said, ", ".join(ends)] if ends else [said]) + ".",
            {name: row["mean"] for name, row in ranked.items()},
            {name: row for name, row in compared.get(reference, {}).items() if name in ranked},
            judged,
            frozenset(_standing_out(ranked, compared) if judged else ()),
        )


def _standing_out(ranked: dict[str, dict], compared: dict[str, dict[str, dict]]) -> list[str]:
    """The best tie group of a base at a budget, where that tells repairs apart.

    What is not trained has one row for all budgets, and so a group that need not be that of this
    one: here it is in the best group unless the first of that is better.
    """
    repairs = [name for name in ranked if name != UNREPAIRED]
    tied = [name for name in repairs if ranked[name]["tie_group"] == 1]
    best = [name for name in tied if ranked[name]["best"]]
    if UNREPAIRED not in ranked or not repairs or (tied and not best):
        return best
    gain = compared.get(UNREPAIRED, {}).get(tied[0]) if tied else None
    is_behind = gain["verdict"] == Verdict.BETTER if gain else ranked[UNREPAIRED]["tie_group"] > 1
    return best if is_behind else [UNREPAIRED, *best]


def in_words(scores: pd.DataFrame, comparisons: pd.DataFrame, costs: pd.DataFrame) -> Iterator[str]:
    """A line for each base, in the score with most signal; see :func:`answers`."""
    for task in chief_scores(scores)[:1]:
        for answer in answers(scores, comparisons, costs, task):
            names = [name for name in answer.base if name != DEFAULT_BUDGET]
            yield f"{' '.join(names)}: {answer.sentence}"


def _best(
    ranked: dict[str, dict],
    compared: dict[str, dict[str, dict]],
    costs: dict[str, dict],
    kind: Kind,
    reference: str,
) -> str:
    """The best repairs of a base, and by how much the first of them leads, at which cost."""
    repairs = [name for name in ranked if name != UNREPAIRED]
    if not repairs:
        return "no repair is ranked"
    tied = [name for name in repairs if ranked[name]["tie_group"] == 1]
    gains = {n: row for n, row in compared.get(UNREPAIRED, {}).items() if n in tied}
    # Against the unrepaired base, as they were paired.
    known = len(gains) == len(tied)
    if known and not any(kind.favours(row["difference"]) for row in gains.values()):
        return "no repair is better than none"
    sure = (Verdict.BETTER, Verdict.NO_VERDICT)
    helps = not known or any(row["verdict"] in sure for row in gains.values())
    first, *others = [*tied, *(name for name in repairs if name not in tied)]
    rival = reference if reference in others else next(iter(others), None)
    lead = compared.get(rival, {}).get(first)
    score = kind.phrase.format(short(ranked[first]["mean"]))
    if not helps:
        said = f"no repair is surely better than none; {first} comes first: {score}"
    elif lead and lead["verdict"] == Verdict.NO_VERDICT:
        said = f"{first} comes first: {score}"
    elif len(tied) > 1:
        named = tied if len(tied) <= 4 else [first, f"{len(tied) - 1} others"]
        said = f"{', '.join(named[:-1])} and {named[-1]} tie for the best: {first} {score}"
    else:
        said = f"{first} is {'best' if others else 'the only one ranked'}: {score}"
    return f"{said}, {_lead(lead, rival, kind)}{_cost(costs, first, rival)}" if lead else said


def _lead(row: dict, rival: str, kind: Kind) -> str:
    """By how much a repair leads another one, and how surely."""
    sign, side = (-1, "below") if row["difference"] < 0 else (1, "above")
    unit = "" if kind.unit in kind.phrase else f" {kind.unit}"
    lead = f"{short(sign * row['difference'])}{unit} {side} {rival}"
    if row["verdict"] == Verdict.NO_VERDICT:
        return f"{lead} (one seed: no verdict)"
    low, high = sorted(sign * row[end] for end in ("ci_low", "ci_high"))
    surely = "equal" if row["verdict"] == Verdict.EQUAL else f"p {probability(row['p_holm'])}"
    return f"{lead} ({short(low)} to {short(high)}, {surely})"


def probability(p: float) -> str:
    """A p-value, with its sign of relation."""
    return "< 0.001" if p < 0.001 else f"= {p:.2g}"


def _cost(costs: dict[str, dict], first: str, rival: str) -> str:
    """What a repair costs relative to another one, on the same device.

    Nothing is said of time where one of them did not have a core to itself.
    """
    if costs[first]["device"] != costs[rival]["device"] or SEVERAL in costs[first]["device"]:
        return ""
    shared = any(beside_others(costs[name][WAITED]) for name in (first, rival))
    named = {"memory": MEMORY} if shared else {"time": TIME, "memory": MEMORY}
    ratios = {
        name: costs[first][cost] / costs[rival][cost]
        for name, cost in named.items()
        if costs[rival][cost] > 0 and pd.notna(costs[first][cost])
    }
    known = [f"{ratio:.2f} times its {name}" for name, ratio in ratios.items()]
    return f", at {' and '.join(known)}" if known else ""


def short(value: float) -> str:
    """Three digits, in print; of large numbers all, rounded."""
    return rounded(value, 3).replace("-", MINUS)
