"""What a grid says of each of its bases: a sentence, and every repair against a reference."""

from collections.abc import Iterator
from dataclasses import dataclass

import pandas as pd

from bench.cells import BASE, DEFAULT_BUDGET, DENSE, UNREPAIRED
from bench.records.measures import MEMORY, TIME, Kind, chief_scores, kinds_of
from bench.statistics.comparisons import Verdict, less, reference_of
from bench.tables.table1 import stands_out

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
        best: the repairs of the best tie group, where that tells repairs apart and there is more
            than one seed.
    """

    base: tuple
    sentence: str
    scores: dict[str, float]
    against: dict[str, dict]
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
    scores = scores.assign(best=stands_out(scores))
    scores = scores[scores["task"] == task].dropna(subset="mean")
    compared = dict(list(comparisons[comparisons["task"] == task].groupby(BASE)))
    spent = dict(list(costs.set_index("repair").groupby(BASE)))
    dense = scores[scores["pruner"] == DENSE].set_index("model")["mean"]
    is_trained = scores["repair"] != UNREPAIRED
    untrained = dict(list(scores[~is_trained].groupby(BASE[:-1])))
    for base, trained in scores[is_trained].groupby(BASE, sort=False):
        rows = pd.concat([untrained.get(base[:-1]), trained]).set_index("repair")
        rows = rows.sort_values("mean", ascending=kind.lower_is_better)
        pairs = compared.get(base, comparisons[:0])
        ends = {"unrepaired": rows["mean"].get(UNREPAIRED), "dense": dense.get(base[0])}
        ends = [f"{name} {short(value)}" for name, value in ends.items() if value is not None]
        said = _best(rows, pairs, spent[base], kind, reference)
        ranked = rows.index[rows["tie_group"].notna()]
        against = less(pairs, reference).set_index("repair", drop=False)
        yield Answer(
            base,
            "; ".join([said, ", ".join(ends)] if ends else [said]) + ".",
            rows.loc[ranked, "mean"].to_dict(),
            against.loc[against.index.isin(ranked)].to_dict("index"),
            frozenset() if (pairs["seeds"] == 1).all() else frozenset(rows.index[rows["best"]]),
        )


def in_words(scores: pd.DataFrame, comparisons: pd.DataFrame, costs: pd.DataFrame) -> Iterator[str]:
    """A line for each base, in the score with most signal; see :func:`answers`."""
    for task in chief_scores(scores)[:1]:
        for answer in answers(scores, comparisons, costs, task):
            names = [name for name in answer.base if name != DEFAULT_BUDGET]
            yield f"{' '.join(names)}: {answer.sentence}"


def _best(
    rows: pd.DataFrame, pairs: pd.DataFrame, costs: pd.DataFrame, kind: Kind, reference: str
) -> str:
    """The best repairs of a base, and by how much the first of them leads, at which cost."""
    ranked = rows[rows["tie_group"].notna() & (rows.index != UNREPAIRED)]
    tied = list(ranked.index[ranked["tie_group"] == 1])
    if not tied:
        return "no repair is better than none"
    first, *others = ranked.index
    rival = reference if reference in others else next(iter(others), None)
    lead = less(pairs, rival)
    lead = lead[lead["repair"] == first].to_dict("records")
    score = kind.phrase.format(short(ranked["mean"][first]))
    if lead and lead[0]["verdict"] == Verdict.NO_VERDICT:
        said = f"{first} comes first: {score}"
    elif len(tied) > 1:
        named = tied if len(tied) <= 4 else [first, f"{len(tied) - 1} others"]
        said = f"{', '.join(named[:-1])} and {named[-1]} tie for the best: {first} {score}"
    else:
        said = f"{first} is best: {score}"
    return f"{said}, {_lead(lead[0], rival, kind)}{_cost(costs, first, rival)}" if lead else said


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


def _cost(costs: pd.DataFrame, first: str, rival: str) -> str:
    """What a repair costs relative to another one."""
    ratios = {"time": TIME, "memory": MEMORY}
    ratios = {name: costs.at[first, cost] / costs.at[rival, cost] for name, cost in ratios.items()}
    known = [f"{ratio:.2f} times its {name}" for name, ratio in ratios.items() if pd.notna(ratio)]
    return f", at {' and '.join(known)}" if known else ""


def short(value: float) -> str:
    """Three digits, in print."""
    return f"{value:.3g}".replace("-", MINUS)
