"""Cells that were run again: the same bits, as far off as another seed may be, or further."""

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import stats

from bench.evaluation.tasks import PERPLEXITY
from bench.records.comparable import differences
from bench.records.measures import kind_of
from bench.records.record import ORIGIN
from bench.records.rows import (
    SPARSITY_TOLERANCE,
    by_row,
    score_metrics,
    score_parts,
    shown_score,
)
from bench.records.samples import read_samples
from bench.statistics.comparisons import Pair, Tasks, pair, paired_tests
from bench.statistics.items import read_items

# One false alarm in a hundred cells, and less: a score must be outside in both ways.
LEVEL = 0.01
# Of a scatter: two rows of three seeds. With less, almost anything would be within it.
LEAST_FREEDOM = 4


@dataclass(frozen=True)
class Scatter:
    """How far seeds of the same row lie apart, in one score.

    Attributes:
        deviation: of one seed's score, pooled over rows; of perplexities, in nats a token.
        freedom: degrees of freedom that it is known with.
    """

    deviation: float
    freedom: int

    @property
    def largest(self) -> float:
        """What the difference between two seeds exceeds once in a hundred times."""
        return float(stats.t.ppf(1 - LEVEL / 2, self.freedom)) * math.sqrt(2) * self.deviation


def scatters(records: list[dict]) -> dict[str, Scatter]:
    """The scatter of each score, pooled over rows of several seeds; of too few there is none."""
    scores, metrics = score_parts(records), score_metrics(records)
    squares: dict[str, list[tuple[float, int]]] = defaultdict(list)
    for group in by_row(records).values():
        for score, parts in scores.items():
            values = [shown_score(record, parts) for record in group]
            values = [_linear(value, metrics[score]) for value in values if value is not None]
            if len(values) > 1:
                squares[score].append((float(np.var(values, ddof=1)), len(values) - 1))
    found = {}
    for score, each in squares.items():
        freedom = sum(n for _, n in each)
        if freedom >= LEAST_FREEDOM:
            found[score] = Scatter(math.sqrt(sum(v * n for v, n in each) / freedom), freedom)
    return found


def _linear(value: float, metric: str | None) -> float:
    return math.log(value) if metric == PERPLEXITY else value


def is_same(theirs: dict, ours: dict) -> bool:
    """Whether two records say the same of what was computed, bit for bit."""
    return all(theirs[key] == ours[key] for key in ("metrics", "sparsity"))


def departures(
    theirs: tuple[Path, dict], ours: tuple[Path, dict], known: Mapping[str, Scatter]
) -> Iterator[str]:
    """Where a cell that was run again is further off than another seed may be, a line each.

    What does not depend on the machine must be equal: the configuration, the data, tokens and
    steps, and which items were scored. The sparsity of each layer and the number of trained
    parameters, which follows from it, must be, within the tolerance of all checks. A score may
    differ by what is negligible, or as far as two seeds do (``known``), or by what is not
    significant on the same items at 1 %.

    Args:
        theirs: path and record as it was submitted.
        ours: path and record of here.
        known: the scatter of the submission's scores, over other rows than the cell's: scores that
            are made up scatter, too.
    """
    (_, sent), (_, again) = theirs, ours
    # A base of another origin need not be the same to the bit.
    both = {"the submission": sent | {ORIGIN: "submission"}, "here": again}
    yield from (reason for _, reason in differences(both))
    if again["status"] != "ok":
        yield f"here it failed: {again['error']['message']}"
        return
    trainings = [record["stages"]["repair"] or {} for record in (sent, again)]
    allowed = {"tokens": 0, "steps": 0, "trainable_parameters": SPARSITY_TOLERANCE}
    for key, tolerance in allowed.items():
        found, expected = (training.get(key) for training in trainings)
        one_lacks = None in (found, expected) and found != expected
        if one_lacks or (found and abs(found - expected) > tolerance * expected):
            yield f"stages.repair.{key} = {found}: here {expected}"
    layers = [record["sparsity"]["layers"] or {} for record in (sent, again)]
    for layer in layers[0] | layers[1]:
        found, expected = (each.get(layer, math.nan) for each in layers)
        if not abs(found - expected) <= SPARSITY_TOLERANCE:
            yield f"sparsity.layers.{layer} = {found:.4f}: here {expected:.4f}"
            # They are hundreds.
            break
    items = [read_items({str(path): record}) for path, record in (theirs, ours)]
    samples = [read_samples(path, record) or {} for path, record in (theirs, ours)]
    for task in samples[0] | samples[1]:
        ids = [[item["id"] for item in each.get(task, [])] for each in samples]
        if ids[0] != ids[1]:
            yield f"items of {task}: not those that are scored here"
    rows: list[Tasks] = [next(iter(each.values()), {}) for each in items]
    metrics = score_metrics([sent])
    for score, parts in score_parts([sent]).items():
        found, expected = (shown_score(record, parts) for record in (sent, again))
        if None not in (found, expected):
            allowed = kind_of(metrics[score]).negligible
            if score in known:
                allowed = max(allowed, known[score].largest)
            one, other = (_linear(value, metrics[score]) for value in (found, expected))
            if abs(one - other) > allowed and not _may_be_chance(pair(*rows, parts)):
                yield f"{score} = {found:.4g}: here {expected:.4g}"
        elif found != expected:
            yield f"{score} = {found}: here {expected}"


def _may_be_chance(both: Pair | None) -> bool:
    """Whether two results on the same items do not differ significantly; without items, no."""
    return both is not None and paired_tests([both])[0][1] >= LEVEL
