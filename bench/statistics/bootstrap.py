"""Scores over resampled seeds and items: standard errors and intervals."""

import math
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from scipy import optimize, special

from bench.statistics.items import Items, common_seeds

RESAMPLES = 10_000
CHUNK = 1_000
LEVEL = 0.95
# Of a number: what its sum may be off by in another order.
ROUNDING = 1e-12
# Of what is written: differences that are 0 but for rounding are 0.
DECIMALS = 10


@dataclass(frozen=True)
class Resampled:
    """A score of each seed, on the items as they are and on resampled items.

    Linear combinations of scores are taken number by number: equal items, and equal seeds, were
    resampled alike.

    Attributes:
        seeds: of the values; None where no seed moves the score.
        values: float64 (seeds,): the scores.
        replicates: float32 (seeds, resamples): the scores on resampled items.
        items: number of items.
        exhausted: whether a task that it is over has no other items.
        parts: of a mean over tasks, the score in each.
    """

    seeds: tuple[int, ...] | None
    values: np.ndarray
    replicates: np.ndarray
    items: int
    exhausted: bool = False
    parts: tuple["Resampled", ...] = ()

    def at(self, seeds: tuple[int, ...] | None) -> "Resampled":
        """At these seeds alone; what no seed moves is the same at each."""
        if seeds == self.seeds:
            return self
        rows = (
            [0] * len(seeds) if self.seeds is None else [self.seeds.index(seed) for seed in seeds]
        )
        return replace(
            self,
            seeds=seeds,
            values=self.values[rows],
            replicates=self.replicates[rows],
            parts=tuple(part.at(seeds) for part in self.parts),
        )

    def exp(self) -> "Resampled":
        """Perplexities, of losses in nats a token."""
        # Squares of large ones leave the range of float32.
        with np.errstate(over="ignore"):
            replicates = np.exp(self.replicates.astype(float))
        return replace(self, values=np.exp(self.values), replicates=replicates)

    def __sub__(self, other: "Resampled") -> "Resampled":
        """The paired difference, at the seeds that both have."""
        seeds = common_seeds([self.seeds, other.seeds])
        a, b = self.at(seeds), other.at(seeds)
        return replace(
            a,
            values=a.values - b.values,
            replicates=a.replicates - b.replicates,
            exhausted=a.exhausted or b.exhausted,
            parts=tuple(one - other for one, other in zip(a.parts, b.parts, strict=True)),
        )

    @property
    def freedom(self) -> float:
        """Degrees of freedom of the error from the items.

        Of a mean over tasks those of Satterthwaite (1946) and Welch (1947): few where most of the
        error is of a task with few items. NaN where there is no error in any.
        """
        if not self.parts:
            return self.items - 1
        errors = [(deviation(part.mean_replicates), part.items - 1) for part in self.parts]
        variances = [(error**2, freedom) for error, freedom in errors if error]
        if not variances:
            return math.nan
        return sum(v for v, _ in variances) ** 2 / sum(v**2 / freedom for v, freedom in variances)

    @property
    def mean_replicates(self) -> np.ndarray:
        """The mean over seeds on resampled items, (resamples,)."""
        return self.replicates.mean(axis=0)


def mean_over_tasks(scores: Sequence[Resampled]) -> Resampled:
    """The mean of one row's scores in several tasks, at the seeds that all have."""
    mean = _mean(scores)
    parts = tuple(score.at(mean.seeds) for score in scores)
    return replace(mean, items=sum(score.items for score in scores), parts=parts)


def mean_over_rows(scores: Sequence[Resampled]) -> Resampled:
    """The mean of several rows' scores on the same items, at the seeds that all have."""
    parts = zip(*(score.parts for score in scores), strict=True)
    items = min(score.items for score in scores)
    return replace(_mean(scores), items=items, parts=tuple(map(mean_over_rows, parts)))


def _mean(scores: Sequence[Resampled]) -> Resampled:
    seeds = common_seeds(score.seeds for score in scores)
    scores = [score.at(seeds) for score in scores]
    return replace(
        scores[0],
        values=np.mean([score.values for score in scores], axis=0),
        replicates=np.mean([score.replicates for score in scores], axis=0),
        exhausted=any(score.exhausted for score in scores),
    )


@lru_cache(maxsize=1024)
def resample(items: Items) -> Resampled:
    """Score ``items`` of one task, and score them resampled; of a perplexity, the loss."""
    count = len(items.ids)
    estimate = items.totals.sum(axis=1) / items.sizes.sum()
    both = np.vstack([items.totals, items.sizes])
    weights = item_weights(count, items.task)
    chunks = (weights[start : start + CHUNK] for start in range(0, RESAMPLES, CHUNK))
    sums = np.hstack([both @ chunk.T.astype(float) for chunk in chunks])
    # Scores of resampled items vary less than those of new items would, by (count - 1) / count.
    widening = math.sqrt(count / (count - 1)) if count > 1 else math.nan
    replicates = estimate[:, None] + widening * (sums[:-1] / sums[-1] - estimate[:, None])
    replicates = replicates.astype(np.float32)
    return Resampled(items.seeds, estimate, replicates, count, items.exhausted)


@lru_cache(maxsize=8)
def item_weights(count: int, task: str) -> np.ndarray:
    """How often each of ``count`` items is in each resample, uint8 (resamples, count).

    They depend on the task and the number of items alone: models scored on the same items are
    scored on the same resamples.
    """
    rng, shares = generator("items", task, count), np.full(count, 1 / count)
    chunks = [rng.multinomial(count, shares, size=CHUNK) for _ in range(RESAMPLES // CHUNK)]
    # Nothing is drawn 256 times: of 255 items or more, that would take one chance in 256!.
    return np.concatenate([chunk.astype(np.uint8) for chunk in chunks])


@lru_cache(maxsize=32)
def seed_weights(count: int, *, widened: bool) -> np.ndarray:
    """The share of each of ``count`` seeds in each resample, (resamples, count).

    If ``widened``, so is their distance from equal shares: the mean of resamples varies less than
    that of samples, by (count - 1) / count. A share may then be below 0.
    """
    rng = generator("seeds", count)
    shares = rng.multinomial(count, np.full(count, 1 / count), size=RESAMPLES) / count
    return 1 / count + math.sqrt(count / (count - 1)) * (shares - 1 / count) if widened else shares


def generator(*purpose: str | int) -> np.random.Generator:
    """Random numbers that are the same in every run and differ by purpose."""
    return np.random.default_rng(zlib.crc32(repr(purpose).encode()))


@dataclass(frozen=True)
class Spread:
    """A mean over seeds, and how sure it is.

    Attributes:
        estimate: the mean.
        seeds: number of seeds that it is over.
        items: number of items that it is over.
        freedom: degrees of freedom of the error from the items.
        se_seeds: its standard error from the seeds; None of one seed.
        se_items: its standard error from the items; None of one item, or out of range.
        draws: the mean over resampled seeds and items.
        geometric: whether the interval is made on a log scale.
    """

    estimate: float
    seeds: int
    items: int
    freedom: float
    se_seeds: float | None
    se_items: float | None
    draws: np.ndarray
    geometric: bool

    @property
    def se(self) -> float | None:
        """The standard error from seeds and items together."""
        return None if self.se_items is None else math.hypot(self.se_seeds or 0, self.se_items)

    @property
    def sources(self) -> list[tuple[float, float]]:
        """The variance from seeds and that from items, with their degrees of freedom."""
        return sources(self.se_seeds, self.seeds - 1, self.se_items, self.freedom)

    def interval(self, level: float = LEVEL) -> tuple[float | None, float | None]:
        """Lowest and highest of what the estimate is compatible with; None without an error."""
        if self.se_items is None:
            return None, None
        if not self.se:
            return self.estimate, self.estimate
        tail = (1 + level) / 2
        wanted = critical_value(self.sources, level) * self.se
        stretch = wanted / (special.ndtri(tail) * self.draws.std())
        ends = np.quantile(self.draws, [1 - tail, tail])
        if self.geometric:
            ends = self.estimate * (ends / self.estimate) ** stretch
        else:
            ends = self.estimate + stretch * (ends - self.estimate)
        return float(ends[0]), float(ends[1])

    def p_value(self) -> float | None:
        """Two-sided, of the t test that the mean is 0."""
        if not self.se:
            return None if self.se is None else float(self.estimate == 0)
        return two_sided_p(abs(self.estimate) / self.se, self.sources)


def spread(score: Resampled, *, geometric: bool = False) -> Spread:
    """How sure the mean over seeds of a score is; ``geometric`` for one that is a ratio."""
    seeds = len(score.values)
    over_items = score.mean_replicates
    se_items = deviation(over_items)
    se_seeds, draws = None, over_items
    if seeds > 1:
        # On a log scale no draw may be below 0; the interval is as wide as it should be either way.
        weights = seed_weights(seeds, widened=not geometric)
        draws = np.einsum("rs,sr->r", weights, score.replicates)
        if score.seeds is not None:
            of_seeds = deviation(score.values)
            se_items = se_items if of_seeds is not None else None
            se_seeds = of_seeds and of_seeds / math.sqrt(seeds)
    return Spread(
        float(score.values.mean()),
        seeds,
        score.items,
        score.freedom,
        se_seeds,
        se_items,
        draws,
        geometric,
    )


def deviation(values: Sequence[float]) -> float | None:
    """Standard deviation of a sample; None where a value, or its square, is out of range.

    What differs by rounding alone is equal: the mean of equal numbers is not always one of them.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        if np.ptp(values) <= ROUNDING * np.abs(values).max():
            return 0.0
        found = float(np.std(values, ddof=1, dtype=float))
    return found if math.isfinite(found) else None


def sources(
    se_seeds: float | None, of_seeds: int, se_items: float | None, of_items: float
) -> list[tuple[float, float]]:
    """Variance and degrees of freedom of each source of error that there is.

    Args:
        se_seeds: the standard error from the seeds.
        of_seeds: its degrees of freedom.
        se_items: the standard error from the items.
        of_items: its degrees of freedom.
    """
    found = ((se_seeds, of_seeds), (se_items, of_items))
    return [(se**2, freedom) for se, freedom in found if se]


def two_sided_p(t: float, sources: list[tuple[float, float]]) -> float:
    """P-value of an estimate that is ``t`` standard errors away from 0.

    Student's tail for the degrees of freedom of each source of error, weighted by its share of the
    variance, after Cochran and Cox (1950). From three seeds on it keeps its level, which Welch and
    Satterthwaite's degrees of freedom do not; with two it rejects up to 8 % where 5 % are asked.

    Args:
        t: at least 0.
        sources: variance and degrees of freedom of each.
    """
    total = sum(variance for variance, _ in sources)
    tails = sum(variance * special.stdtr(freedom, -t) for variance, freedom in sources)
    return float(2 * tails / total)


def critical_value(sources: list[tuple[float, float]], level: float) -> float:
    """The ``t`` of which :func:`two_sided_p` is 1 - ``level``."""
    each = [float(special.stdtrit(freedom, (1 + level) / 2)) for _, freedom in sources]
    # It lies between them: a little wider, in case one source is next to nothing.
    low, high = 0.99 * min(each), 1.01 * max(each)
    return optimize.brentq(lambda t: two_sided_p(t, sources) - (1 - level), low, high)
