"""What a grid says of each of its bases, in a sentence."""

from collections.abc import Iterator

import pandas as pd

from bench.cells import DENSE, UNREPAIRED
from bench.evaluation.tasks import PERPLEXITY
from bench.records.rows import AVERAGE

BASE = ["model", "pruner", "pattern"]


def answers(scores: pd.DataFrame) -> Iterator[str]:
    """One sentence a base: the score without repair, the best repairs, and the dense model.

    The score is the first perplexity, else the average accuracy. Repairs that do not differ
    significantly from the best one are named together.

    Args:
        scores: ``results/scores.csv``.
    """
    tasks = list(scores["task"].unique())
    task = next((name for name in tasks if name.endswith(f"_{PERPLEXITY}")), AVERAGE)
    scores = scores[scores["task"] == task].dropna(subset="mean")
    label = task.replace("_", " ")
    dense = scores[scores["pruner"] == DENSE].set_index("model")["mean"]
    for (model, pruner, pattern), rows in scores.groupby(BASE, sort=False):
        repaired = rows[rows["repair"] != UNREPAIRED]
        if pruner == DENSE or repaired.empty:
            continue
        before = rows.loc[rows["repair"] == UNREPAIRED, "mean"]
        best = repaired[repaired["tie_group"] == 1].sort_values("mean", ascending=task != AVERAGE)
        found = [
            f"{name} {mean:.4g}" for name, mean in zip(best["repair"], best["mean"], strict=True)
        ]
        parts = [f"{before.iloc[0]:.4g} without repair"] if len(before) else []
        parts.append(
            ", ".join(found) + (" (a tie)" if len(found) > 1 else "")
            if found
            else "no repair is best"
        )
        if model in dense:
            parts.append(f"{dense[model]:.4g} for the dense model")
        yield f"{model}, {pruner} {pattern}: {label} {'; '.join(parts)}."
