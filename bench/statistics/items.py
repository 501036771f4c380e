"""Results item by item, as matrices of seeds and items."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from bench.cells import IDENTITY, UNREPAIRED
from bench.evaluation.tasks import ANSWER_BPB, PERPLEXITY
from bench.records.measures import kind_of
from bench.records.rows import answer_part, answered_tasks, part_metric
from bench.records.samples import has_values, item_score, read_samples

Row = tuple[str, str, str, str, str]
"""Model, pruner, pattern, budget and repair: a row of the tables."""


# Two are the same when they are one object: what is resampled is kept for it.
@dataclass(frozen=True, eq=False)
class Items:
    """What the seeds of a row scored on each item of one task.

    Attributes:
        task: name of the task.
        metric: that tables show of it.
        seeds: of the rows of ``totals``; None where no seed moves the model.
        ids: of the items.
        totals: float64 (seeds, items): 100 for a right answer and 0 for a wrong one; or the bits
            per byte of the right one; or the document's loss in nats.
        sizes: float64 (items,): 1; or the document's tokens. A score is a sum of totals over a sum
            of sizes.
        exhausted: whether the task has no other items, as far as its records tell.
    """

    task: str
    metric: str
    seeds: tuple[int, ...] | None
    ids: tuple[str, ...]
    totals: np.ndarray
    sizes: np.ndarray
    exhausted: bool = False

    @property
    def is_perplexity(self) -> bool:
        return self.metric == PERPLEXITY

    @property
    def is_binary(self) -> bool:
        """Whether each item of a seed is right or wrong."""
        return kind_of(self.metric).scale == 100 and bool(np.isin(self.totals, (0, 100)).all())

    def only(self, ids: tuple[str, ...]) -> "Items":
        """These items alone, in this order."""
        if ids == self.ids:
            return self
        position = {item: column for column, item in enumerate(self.ids)}
        columns = [position[item] for item in ids]
        return replace(self, ids=ids, totals=self.totals[:, columns], sizes=self.sizes[columns])

    def mean_totals(self, seeds: tuple[int, ...] | None) -> np.ndarray:
        """The mean of the totals over these of the seeds, (items,)."""
        if self.seeds is None:
            return self.totals[0]
        return self.totals[[self.seeds.index(seed) for seed in seeds]].mean(axis=0)


def common_items(a: Items, b: Items) -> tuple[Items, Items] | None:
    """Both on the items that both have; None if there are none."""
    if a.ids == b.ids:
        return a, b
    shared = set(b.ids)
    ids = tuple(item for item in a.ids if item in shared)
    return (a.only(ids), b.only(ids)) if ids else None


def common_seeds(several: Iterable[tuple[int, ...] | None]) -> tuple[int, ...] | None:
    """The seeds that all have; None, the seeds of what no seed moves, go with any."""
    sets = [set(seeds) for seeds in several if seeds is not None]
    return tuple(sorted(set.intersection(*sets))) if sets else None


def read_items(records: Mapping[str, dict]) -> dict[Row, dict[str, Items]]:
    """The results item by item of records, by row and part of a score.

    They lie beside their records. Failed cells and parts (see
    :func:`bench.records.rows.score_parts`) without results have no entry. Items that not every seed
    of a row was scored on are left out.

    Args:
        records: by their paths.

    Raises:
        UnreadableError: a file is damaged, or does not fit its record.
    """
    found: dict[tuple[Row, str], dict[int, dict]] = defaultdict(dict)
    measured: dict[str, tuple[str, str]] = {}
    exhausted: dict[tuple[Row, str], bool] = {}
    for path, record in records.items():
        cell = record["cell"]
        row = tuple(cell[key] for key in IDENTITY)
        tasks = record["config"]["resolved"]["evaluation"]["tasks"]
        samples = read_samples(path, record)
        if samples is None:
            continue
        answers = [task for task in answered_tasks(record) if task in tasks]
        for part in [*tasks, *map(answer_part, answers)]:
            task, metric = part_metric(part, tasks)
            scored = samples.get(task, [])
            if metric == ANSWER_BPB or has_values(scored, metric):
                measured[part] = task, metric
                found[row, part][cell["seed"]] = {i["id"]: _score(i, metric) for i in scored}
                limit = tasks[task]["limit"]
                exhausted[row, part] = limit is None or len(scored) < limit
    items: dict[Row, dict[str, Items]] = defaultdict(dict)
    for (row, part), seeds in found.items():
        first, *others = seeds.values()
        ids = tuple(item for item in first if all(item in other for other in others))
        if ids:
            totals = np.array([[seeds[seed][item][0] for item in ids] for seed in sorted(seeds)])
            items[row][part] = Items(
                *measured[part],
                None if row[-1] == UNREPAIRED else tuple(sorted(seeds)),
                ids,
                totals.astype(float),
                np.array([first[item][1] for item in ids], dtype=float),
                exhausted[row, part],
            )
    return dict(items)


def _score(item: dict, metric: str) -> tuple[float, float]:
    """What :func:`bench.records.samples.item_score` gives, as tables show it."""
    total, size = item_score(item, metric)
    return kind_of(metric).scale * total, size
