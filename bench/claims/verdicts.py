"""The verdict of each comparison and of each claim, as tables."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from enum import StrEnum

import pandas as pd

from bench.cells import BASE, NO_BUDGET
from bench.claims.comparisons import POOLED, Comparison, Grid
from bench.claims.evidence import Evidence, Needed, all_of, least_of
from bench.claims.spec import OBSERVED, Claim
from bench.records.profiles import PROFILED
from bench.statistics.bootstrap import DECIMALS, LEVEL
from bench.statistics.significance import is_negligible

DETAIL_COLUMNS = ["claim", *BASE, "repair", "against", "task", "metric"]
DETAIL_COLUMNS += ["seeds", "items", "estimate", "ci_low", "ci_high", "direction", "threshold"]
DETAIL_COLUMNS += ["verdict", "needed_seeds", "needed_items", "to_settle", "detail"]


class Verdict(StrEnum):
    SUPPORTED = "supported"
    REFUTED = "refuted"
    EQUAL = "equal"
    INCONCLUSIVE = "inconclusive"
    NO_VERDICT = "no verdict"
    NOT_TESTED = "not tested"


CLAIM_COLUMNS = ["claim", "title", "statement", "budget", "verdict", "other_budgets", "seeds"]
CLAIM_COLUMNS += ["comparisons"]
CLAIM_COLUMNS += [verdict.value.replace(" ", "_") for verdict in Verdict]
CLAIM_COLUMNS += ["unit", "estimate", "ci_low", "ci_high", "needed_seeds", "needed_items"]
CLAIM_COLUMNS += ["to_settle", "detail"]


def claims_tables(claims: Sequence[Claim], grid: Grid) -> tuple[pd.DataFrame, pd.DataFrame]:
    """One row a claim, and one row a comparison; see :mod:`bench.claims`.

    A claim is judged at one ``budget``; ``other_budgets`` are the verdicts there in words, and
    comparisons of all budgets have rows. ``estimate`` and its interval are in ``unit``; those of a
    claim are of all its comparisons together. ``needed_seeds`` (a cell) and ``needed_items`` are
    what it would take in all to settle a comparison that is open, and for a claim that is, the
    most of them; ``to_settle`` is that in words.
    """
    summaries, details = [], []
    for claim in claims:
        at: dict[str, list[Judged]] = {}
        # A profile is of no budget.
        for budget in [NO_BUDGET] if claim.metric in PROFILED else grid.budgets:
            comparisons = grid.comparisons(claim, budget)
            tested = sum(one.evidence is not None for one in comparisons)
            at[budget] = [Judged(claim, one, of=tested) for one in comparisons]
            details += [_detail(claim, one) for one in at[budget]]
        # Of budgets with as many the last, which is the largest.
        budget = max(reversed(at), key=lambda name: sum(one.parts for one in at[name]))
        summary = _summary(claim, at.pop(budget))
        others = (f"{name}: {_short(_summary(claim, judged))}" for name, judged in at.items())
        summaries.append(summary | {"budget": budget, "other_budgets": "; ".join(others)})
    return _table(summaries, CLAIM_COLUMNS), _table(details, DETAIL_COLUMNS)


class Judged:
    """A comparison ``of`` so many with its verdict, and what would settle it if it is open."""

    def __init__(self, claim: Claim, comparison: Comparison, *, of: int):
        self.place, self.evidence = comparison.place, comparison.evidence
        self.lacks = comparison.lacks
        self.verdict = judge(claim, self.evidence, of=of)
        # Of too few seeds it is as good as not run.
        self.parts = 0 if self.verdict is Verdict.NO_VERDICT else comparison.parts
        self.needed, why = Needed(), [str(lack) for lack in self.lacks]
        if self.verdict is Verdict.NO_VERDICT:
            self.needed = Needed(claim.seeds)
        elif self.verdict is Verdict.INCONCLUSIVE:
            self.needed = needed(claim, self.evidence, of=of)
            if judge(claim, self.evidence) is Verdict.REFUTED:
                why.append(f"refuted by itself, not as one of {of} comparisons")
        self.to_settle = _to_settle(claim, self.evidence, self.needed) if self.is_open else ""
        self.detail = "; ".join(why)

    @property
    def is_open(self) -> bool:
        """Whether more of the same measurements would settle it."""
        return self.verdict in (Verdict.INCONCLUSIVE, Verdict.NO_VERDICT)


def judge(claim: Claim, evidence: Evidence | None, *, of: int = 1) -> Verdict:
    """The verdict of one comparison ``of`` so many."""
    if evidence is None:
        return Verdict.NOT_TESTED
    # As if the claim were always "above".
    sign = _sign(claim)
    threshold = sign * claim.threshold
    if claim.metric in OBSERVED:
        held = sign * evidence.estimate >= threshold
        return Verdict.SUPPORTED if held else Verdict.REFUTED
    if evidence.seeds < claim.seeds:
        return Verdict.NO_VERDICT
    interval = evidence.interval()
    if None in interval:
        return Verdict.INCONCLUSIVE
    if is_negligible(*(end - claim.threshold for end in interval), claim.margin):
        return Verdict.EQUAL
    if min(sign * end for end in interval) > threshold:
        return Verdict.SUPPORTED
    wide = evidence.interval(_level_among(of))
    if max(sign * end for end in wide) <= threshold + claim.margin:
        return Verdict.REFUTED
    return Verdict.INCONCLUSIVE


def needed(claim: Claim, evidence: Evidence, *, of: int) -> Needed:
    """What would settle an open comparison ``of`` so many, around the same estimate.

    On the claim's side it is supported, or equal, else it is refuted, or equal: whichever takes
    less.
    """
    gain = _sign(claim) * (evidence.estimate - claim.threshold)
    worth_naming = claim.threshold + _sign(claim) * claim.margin
    if gain <= 0:
        ways = [evidence.needed(worth_naming, _level_among(of))]
        if -gain < claim.margin:
            ways.append(evidence.needed(claim.threshold - _sign(claim) * claim.margin))
        return least_of(ways)
    return evidence.needed(claim.threshold if gain >= claim.margin / 2 else worth_naming)


def _sign(claim: Claim) -> int:
    return 1 if claim.direction == "above" else -1


def _level_among(comparisons: int) -> float:
    """Level of the interval of one comparison at which all of them have ``LEVEL`` (Bonferroni)."""
    return 1 - (1 - LEVEL) / comparisons


def _detail(claim: Claim, judged: Judged) -> dict:
    row = {"claim": claim.claim, **judged.place, "repair": claim.cells.repair}
    row |= {"metric": claim.metric, "direction": claim.direction, "threshold": claim.threshold}
    row |= {"verdict": judged.verdict.value, "detail": judged.detail}
    evidence = judged.evidence
    if evidence is None:
        return row
    low, high = _interval(judged.verdict, evidence)
    row |= {"seeds": evidence.seeds, "items": evidence.items, "estimate": evidence.estimate}
    row |= {"ci_low": low, "ci_high": high}
    row |= {"needed_seeds": judged.needed.seeds, "needed_items": judged.needed.items}
    return row | {"to_settle": judged.to_settle}


def _to_settle(claim: Claim, evidence: Evidence, needed: Needed) -> str:
    """What would settle a comparison, and how much of it is not there yet."""
    if needed == Needed() and None in evidence.interval():
        return "more than one measurement"
    have = {"seeds": evidence.seeds, "items": evidence.items}
    return _in_words(needed, have, claim.counted) or "no number of measurements that could be run"


def _in_words(needed: Needed, have: dict[str, int | None], counted: str) -> str:
    ways = [
        # A ratio is over bases, some of which may lack seeds that others have.
        f"{number:,} {label}" + (f" ({number - had:,} more)" if had and number > had else "")
        for number, label, had in (
            (needed.seeds, counted, have.get("seeds")),
            (needed.items, "items", have.get("items")),
        )
        if number is not None
    ]
    return (" and " if needed.both else " or ").join(ways)


def _summary(claim: Claim, judged: list[Judged]) -> dict:
    counts = Counter(one.verdict for one in judged)
    settled = counts[Verdict.SUPPORTED] + counts[Verdict.EQUAL]
    tested = [one for one in judged if one.evidence is not None]
    too_few = [
        f"{len(found)} of at least {number} {axis}s"
        for axis, number in claim.at_least.items()
        if len(found := {one.place[axis] for one in tested}) < number
    ]
    if counts[Verdict.REFUTED]:
        verdict = Verdict.REFUTED
    elif not tested:
        verdict = Verdict.NOT_TESTED
    elif counts[Verdict.NO_VERDICT] == len(tested):
        verdict = Verdict.NO_VERDICT
    elif settled == len(judged) and not too_few:
        verdict = Verdict.EQUAL if counts[Verdict.EQUAL] else Verdict.SUPPORTED
    else:
        verdict = Verdict.INCONCLUSIVE
    pooled = type(tested[0].evidence).pooled([one.evidence for one in tested]) if tested else None
    low, high = _interval(verdict, pooled) if pooled else (None, None)
    # A claim that is refuted is settled, whatever else is open.
    is_open = verdict in (Verdict.INCONCLUSIVE, Verdict.NO_VERDICT)
    needed = all_of([one.needed for one in judged if one.is_open and is_open])
    return {
        **claim.model_dump(include={"claim", "title", "statement"}),
        "verdict": verdict.value,
        "seeds": pooled.seeds if pooled else None,
        "comparisons": len(judged),
        **{name.value.replace(" ", "_"): counts[name] for name in Verdict},
        "unit": claim.unit,
        "estimate": pooled.estimate if pooled else None,
        "ci_low": low,
        "ci_high": high,
        "needed_seeds": needed.seeds,
        "needed_items": needed.items,
        "to_settle": _in_words(needed, {}, claim.counted),
        "detail": "; ".join([*too_few, *_refuted(judged), *_not_tested(judged), *_in_part(judged)]),
    }


def _short(summary: dict) -> str:
    """A verdict with its estimate."""
    value, low, high = (summary[key] for key in ("estimate", "ci_low", "ci_high"))
    estimate = [] if value is None else [f"{value:.3g}"]
    interval = [] if low is None else [f"({low:.3g} to {high:.3g})"]
    return " ".join([summary["verdict"], *estimate, *interval])


def _interval(verdict: Verdict, evidence: Evidence) -> tuple[float | None, float | None]:
    """None where there are too few seeds: it would be of the items alone."""
    return (None, None) if verdict is Verdict.NO_VERDICT else evidence.interval()


def _refuted(judged: list[Judged]) -> list[str]:
    """Against what the claim is refuted, and where.

    A model, a budget or a task that is the same in all comparisons is not named.
    """
    shared = ("model", "budget", "task")
    common = [axis for axis in shared if len({one.place[axis] for one in judged}) == 1]
    refuted = defaultdict(list)
    for one in judged:
        if one.verdict is Verdict.REFUTED:
            names = {axis: name for axis, name in one.place.items() if name not in (None, POOLED)}
            against = f" against {names.pop('against')}" if "against" in names else ""
            where = " ".join(name for axis, name in names.items() if axis not in common)
            refuted[against].append(where)
    # Where all bases are taken together there is no place to name.
    return [
        f"refuted{against}: {', '.join(where)}".removesuffix(": ")
        for against, where in refuted.items()
    ]


def _not_tested(judged: list[Judged]) -> list[str]:
    """How many comparisons are not there, and why."""
    counts, names = Counter(), defaultdict(dict)
    for one in judged:
        if one.verdict is Verdict.NOT_TESTED:
            counts.update({lack.why for lack in one.lacks})
            for lack in one.lacks:
                names[lack.why][lack.what] = None
    return [
        f"{number} not tested: " + f"{', '.join(names[why])} {why}".strip()
        for why, number in counts.items()
    ]


def _in_part(judged: list[Judged]) -> list[str]:
    """What comparisons over several bases are without."""
    lacks = [
        str(lack) for one in judged if one.verdict is not Verdict.NOT_TESTED for lack in one.lacks
    ]
    return [f"without {lack}" for lack in dict.fromkeys(lacks)]


def _table(rows: list[dict], columns: list[str]) -> pd.DataFrame:
    table = pd.DataFrame(rows, columns=columns)
    whole = [name for name in ("seeds", "items", "needed_seeds", "needed_items") if name in table]
    return table.astype(dict.fromkeys(whole, "Int64")).round(DECIMALS)
