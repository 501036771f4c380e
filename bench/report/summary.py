"""What the page says first: the answer for each base, and a matrix of repairs and bases."""

from collections import Counter
from collections.abc import Sequence
from itertools import groupby

from bench.cells import BASE, UNREPAIRED
from bench.figures.style import in_order, pattern_label
from bench.records.measures import kinds_of
from bench.report.sources import Sources
from bench.statistics.comparisons import Verdict, reference_of
from bench.tables.answer import Answer, answers, short

# What a matrix counts of a repair against the reference.
COUNTED = {
    "wins": (Verdict.BETTER,),
    "ties": (Verdict.EQUAL, Verdict.INCONCLUSIVE),
    "losses": (Verdict.WORSE,),
}


def summary(sources: Sources, task: str) -> dict:
    """The answers in one score.

    Returns:
        ``label`` and ``unit`` of the score; the ``reference``; ``judged``, whether there is a
        verdict at all; ``answers``, pairs of a base's name and its sentence; ``best``, of each
        repair that is in a best group that stands out its name, on how many bases it is, and of how
        many that it was judged on, beside another repair; ``open`` and ``unjudged``, on how many
        bases none stands out, and on how many there is no verdict; the matrix: ``heads``, rows of
        (label, columns that it is over), and ``rows``, of each repair its name, how often it was
        best, its counts, and its cells.
    """
    results = sources.results
    kind = kinds_of(results.scores)[task]
    found = list(answers(results.scores, results.comparisons, results.costs, task))
    bases = [answer.base for answer in found]
    reference = reference_of(results.scores["repair"])
    repairs = in_order(name for answer in found for name in answer.scores)
    judged = [answer for answer in found if answer.judged]
    rivals = [answer for answer in judged if len(answer.scores.keys() - {UNREPAIRED}) > 1]
    best = Counter(name for answer in rivals for name in answer.best)
    ranked = Counter(name for answer in rivals for name in answer.scores)
    return {
        "label": kind.label(task),
        "unit": kind.unit,
        "reference": reference,
        "judged": any(
            row["verdict"] != Verdict.NO_VERDICT for a in found for row in a.against.values()
        ),
        "answers": [(base_name(a.base, bases), a.sentence) for a in found],
        "best": sorted(
            ((name, best[name], ranked[name]) for name in repairs if best[name]),
            key=lambda b: -b[1],
        ),
        "open": sum(not answer.best for answer in judged),
        "unjudged": len(found) - len(judged),
        "heads": heads(bases),
        "rows": [_row(name, found, best[name], reference) for name in repairs],
    }


def _row(name: str, found: Sequence[Answer], best: int, reference: str) -> dict:
    verdicts = Counter(a.against[name]["verdict"] for a in found if name in a.against)
    return {
        "repair": name,
        "is_reference": name == reference,
        "best": best,
        "counts": [sum(verdicts[one] for one in each) for each in COUNTED.values()],
        "cells": [_cell(answer, name, reference) for answer in found],
    }


def _cell(answer: Answer, name: str, reference: str) -> dict:
    """A repair's difference to the reference on a base; of the reference, its score.

    What is ranked and was not compared with the reference has a dash: its score would be read as a
    difference.
    """
    cell = {"verdict": "", "title": "", "text": "", "best": name in answer.best}
    if name not in answer.scores:
        return cell
    if name == reference:
        return cell | {"text": short(answer.scores[name])}
    if name not in answer.against:
        title = f"{short(answer.scores[name])}; not compared with {reference}"
        return cell | {"text": "\N{EN DASH}", "title": title}
    row = answer.against[name]
    sign = "+" if row["difference"] > 0 else ""
    cell |= {"verdict": row["verdict"].replace(" ", "-"), "title": row["verdict"]}
    if row["verdict"] != Verdict.NO_VERDICT:
        cell["title"] += f": {short(row['ci_low'])} to {short(row['ci_high'])}"
    return cell | {"text": sign + short(float(f"{row['difference']:.2g}"))}


def varying(bases: Sequence[tuple]) -> list[int]:
    """Which of ``BASE`` these bases differ in."""
    return [n for n in range(len(BASE)) if len({base[n] for base in bases}) > 1]


def base_name(base: tuple, bases: Sequence[tuple]) -> str:
    """A base in words: pruner and pattern, and what else differs among ``bases``."""
    shown = {*varying(bases), BASE.index("pruner"), BASE.index("pattern")}
    return " ".join(_label(base, n) for n in sorted(shown))


def heads(bases: Sequence[tuple]) -> list[list[tuple[str, int]]]:
    """The heading of a matrix: a row for each of ``BASE`` that differs, equal neighbours joined."""
    rows = []
    for n in varying(bases) or [BASE.index("pruner")]:
        runs = groupby(bases, key=lambda base, n=n: base[: n + 1])
        rows.append([(_label(start, n), len(list(run))) for start, run in runs])
    return rows


def _label(base: tuple, n: int) -> str:
    return pattern_label(base[n]) if BASE[n] == "pattern" else base[n]
