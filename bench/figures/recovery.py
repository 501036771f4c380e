"""How much of what pruning took each repair gives back."""

from matplotlib.figure import Figure

from bench.cells import DENSE
from bench.figures.results import Results
from bench.figures.style import REFERENCE, bar, panels


def draw(results: Results) -> Figure | None:
    """The figure of one pattern of a model; None where nothing was recovered from."""
    task, kind = next(iter(results.chief.items()), (None, None))
    scores = results.scores[results.scores["task"] == task]
    scores = scores[scores["pattern"] != DENSE]
    repairs = [repair for repair in results.repairs if repair != "none"]
    if scores.loc[scores["repair"] != "none", "recovery"].isna().all():
        return None
    pruners = results.pruners
    figure, axes = panels(1, pruners, height=0.3 + 0.2 * len(repairs), sharex=True, sharey=True)
    for axis, pruner in zip(axes[0], pruners, strict=True):
        ours = scores[scores["pruner"] == pruner].set_index("repair")
        for position, repair in enumerate(repairs):
            if repair not in ours.index:
                continue
            row = ours.loc[repair]
            axis.barh(position, row["recovery"], height=0.66, **bar(results.looks[repair]))
            ends = row["recovery_low"], row["recovery_high"]
            axis.plot(ends, [position] * 2, color="#222222", linewidth=1)
        axis.axvline(0, color="black", linewidth=0.8)
        axis.axvline(1, color=REFERENCE, linestyle="--", linewidth=1)
        axis.grid(visible=False, axis="y")
        axis.set_xlabel(f"recovery of {kind.heading(task)}")
    axes[0][0].set_yticks(range(len(repairs)), repairs)
    axes[0][0].invert_yaxis()
    return figure
