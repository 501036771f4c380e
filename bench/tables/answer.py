"""What a grid says of each of its bases, in a sentence."""

from collections.abc import Iterator

import pandas as pd

from bench.cells import BASE, DEFAULT_BUDGET, DENSE, NO_BUDGET, UNREPAIRED
from bench.evaluation.tasks import PERPLEXITY
from bench.records.rows import AVERAGE


def answers(scores: pd.DataFrame) -> Iterator[str]:
    """One sentence a base and budget: the score without repair, the best repairs, the dense model.

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
    untrained = scores[scores["repair"] == UNREPAIRED].set_index(BASE)["mean"]
    trained = scores[scores["repair"] != UNREPAIRED]
    for (*base, budget), repaired in trained.groupby(BASE, sort=False):
        model, pruner, pattern = base
        before = untrained.get((*base, NO_BUDGET))
        best = repaired[repaired["tie_group"] == 1].sort_values("mean", ascending=task != AVERAGE)
        found = [
            f"{name} {mean:.4g}" for name, mean in zip(best["repair"], best["mean"], strict=True)
        ]
        parts = [] if before is None else [f"{before:.4g} without repair"]
        parts.append(
            ", ".join(found) + (" (a tie)" if len(found) > 1 else "")
            if found
            else "no repair is best"
        )
        if model in dense:
            parts.append(f"{dense[model]:.4g} for the dense model")
        at = "" if budget == DEFAULT_BUDGET else f", {budget}"
        yield f"{model}, {pruner} {pattern}{at}: {label} {'; '.join(parts)}."
