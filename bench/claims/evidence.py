"""What speaks for or against a claim: an estimate, and how sure it is."""

import math
from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from bench.statistics.bootstrap import (
    LEVEL,
    Resampled,
    critical_value,
    mean_over_rows,
    sources,
    spread,
)

# More is not an experiment that anyone will run.
TOO_MANY = 1_000_000


@dataclass(frozen=True)
class Needed:
    """The seeds a cell, or the items, that would settle a comparison; or both at once."""

    seeds: int | None = None
    items: int | None = None
    both: bool = False


class Evidence:
    """Of one comparison, or of several together: an estimate, over so many seeds and items.

    Where nothing else is said, what was observed is all that can be said.
    """

    estimate: float
    seeds: int
    items: int | None = None

    def interval(self, level: float = LEVEL) -> tuple[float | None, float | None]:
        """What the estimate is compatible with; None where that cannot be said."""
        return None, None

    def needed(self, threshold: float, level: float = LEVEL) -> Needed:
        """What would make the interval around this estimate exclude the threshold."""
        return Needed()


class Difference(Evidence):
    """A paired difference of scores."""

    def __init__(self, difference: Resampled):
        self.difference = difference
        self.spread = spread(difference)
        self.estimate, self.seeds = self.spread.estimate, self.spread.seeds
        self.items = self.spread.items

    @classmethod
    def pooled(cls, parts: Sequence["Difference"]) -> "Difference | None":
        pooled = mean_over_rows([part.difference for part in parts])
        return cls(pooled) if len(pooled.values) else None

    def interval(self, level: float = LEVEL) -> tuple[float | None, float | None]:
        return self.spread.interval(level)

    def needed(self, threshold: float, level: float = LEVEL) -> Needed:
        """More seeds on the same items or more items of the same seeds, else more of both.

        More items are as many times more of each task: where one has no others, more seeds alone.
        """
        distance = abs(self.estimate - threshold)
        of_seeds, of_items = self.spread.se_seeds or 0, self.spread.se_items
        if not distance or not self.spread.se:
            return Needed()

        def excludes(seeds: int, items: int) -> bool:
            errors = sources(
                of_seeds * math.sqrt(self.seeds / seeds),
                seeds - 1,
                of_items * math.sqrt(self.items / items),
                self.spread.freedom * items / self.items,
            )
            error = math.sqrt(sum(variance for variance, _ in errors))
            return critical_value(errors, level) * error < distance

        seeds = fewest(self.seeds, lambda n: excludes(n, self.items)) if of_seeds else None
        if self.difference.exhausted:
            return Needed(seeds)
        items = fewest(self.items, lambda n: excludes(self.seeds, n))
        if seeds is None and items is None:
            times = fewest(1, lambda n: excludes(n * self.seeds, n * self.items))
            return Needed(times * self.seeds, times * self.items, True) if times else Needed()
        return Needed(seeds, items)


class Ratio(Evidence):
    """A ratio of costs, over bases and seeds.

    Args:
        logarithms: by (base, seed), of the ratio there.
    """

    def __init__(self, logarithms: dict[tuple, float]):
        self.logarithms = logarithms
        self.values = np.array(list(logarithms.values()))
        self.bases = len({base for base, _ in logarithms})
        self.seeds = len({seed for _, seed in logarithms})
        self.estimate = math.exp(self.values.mean())

    @classmethod
    def pooled(cls, parts: Sequence["Ratio"]) -> "Ratio":
        return cls(
            {
                ((number, base), seed): value
                for number, part in enumerate(parts)
                for (base, seed), value in part.logarithms.items()
            }
        )

    def interval(self, level: float = LEVEL) -> tuple[float | None, float | None]:
        if len(self.values) < 2:
            return None, None
        half, centre = self._half_width(len(self.values), level), math.log(self.estimate)
        return math.exp(centre - half), math.exp(centre + half)

    def needed(self, threshold: float, level: float = LEVEL) -> Needed:
        distance, count = abs(math.log(self.estimate / threshold)), len(self.values)
        if count < 2 or not distance:
            return Needed()
        wanted = fewest(count, lambda n: self._half_width(n, level) < distance)
        return Needed(wanted and math.ceil(wanted / self.bases))

    def _half_width(self, count: int, level: float) -> float:
        """Of the interval of the logarithm, if so many values scatter as these do."""
        se = self.values.std(ddof=1) / math.sqrt(count)
        return critical_value([(1, count - 1)], level) * se


class Largest(Evidence):
    """The largest of observed values, of which none may be over the threshold."""

    def __init__(self, values: Sequence[float]):
        self.values = list(values)
        self.estimate, self.seeds = max(self.values), len(self.values)

    @classmethod
    def pooled(cls, parts: Sequence["Largest"]) -> "Largest":
        return cls([value for part in parts for value in part.values])


class Share(Largest):
    """The share of seeds in which something happened: values of 0 and 1."""

    def __init__(self, values: Sequence[float]):
        super().__init__(values)
        self.estimate = sum(self.values) / self.seeds

    def interval(self, level: float = LEVEL) -> tuple[float | None, float | None]:
        test = stats.binomtest(int(sum(self.values)), self.seeds)
        ends = test.proportion_ci(level, method="exact")
        return float(ends.low), float(ends.high)


def fewest(count: int, enough: Callable[[int], bool]) -> int | None:
    """The smallest number above ``count`` that is enough; None if that is too many."""
    numbers = range(count + 1, TOO_MANY)
    found = bisect_left(numbers, True, key=enough)
    return numbers[found] if found < len(numbers) else None


def least_of(several: Sequence[Needed]) -> Needed:
    """What would settle a comparison in one of several ways."""
    seeds = [one.seeds for one in several if one.seeds is not None and not one.both]
    items = [one.items for one in several if one.items is not None and not one.both]
    if seeds or items:
        return Needed(min(seeds, default=None), min(items, default=None))
    return min((one for one in several if one.both), key=lambda one: one.seeds, default=Needed())


def all_of(several: Sequence[Needed]) -> Needed:
    """What would settle every one of several comparisons."""
    if not several or any(one.seeds is None and one.items is None for one in several):
        return Needed()
    seeds = [one.seeds for one in several if one.seeds is not None]
    items = [one.items for one in several if one.items is not None]
    most = max(seeds, default=None), max(items, default=None)
    by_seeds, by_items = len(seeds) == len(several), len(items) == len(several)
    if any(one.both for one in several) or not (by_seeds or by_items):
        return Needed(*most, both=True)
    return Needed(most[0] if by_seeds else None, most[1] if by_items else None)
