"""Scores against the tokens of the repair."""

from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, NullLocator

from bench.cells import NO_BUDGET, UNREPAIRED
from bench.figures.results import Results
from bench.figures.style import REFERENCE, band, key, legend, panels, reference_key, scale
from bench.records.measures import KINDS


def draw(results: Results) -> Figure | None:
    """The figure of one pattern of a model; None where there are not two budgets."""
    trained = results.scores[results.scores["budget"] != NO_BUDGET].dropna(subset="mean")
    tasks = {task: kind for task, kind in results.chief.items() if kind in KINDS.values()}
    if trained["tokens"].nunique() < 2 or not tasks:
        return None
    repairs = [name for name in results.repairs if name in set(trained["repair"])]
    tokens = trained[["tokens"]].drop_duplicates().sort_values("tokens")
    figure, axes = panels(len(tasks), results.pruners, sharex=True, sharey="row")
    for line, (task, kind) in zip(axes, tasks.items(), strict=True):
        scores = results.scores[results.scores["task"] == task]
        for axis, pruner in zip(line, results.pruners, strict=True):
            ours = scores[scores["pruner"] == pruner].set_index("repair")
            base = ours["mean"].get(UNREPAIRED)
            for level, style in ((results.dense(task), "--"), (base, ":")):
                if level is not None:
                    axis.axhline(level, color=REFERENCE, linestyle=style, linewidth=1, zorder=1)
            for repair in repairs:
                # No line says what would be at a budget between two that was not run.
                rows = tokens.merge(ours[ours.index == repair], how="left")
                look = results.looks[repair]
                axis.plot(rows["tokens"], rows["mean"], **look)
                band(axis, rows["tokens"], rows["ci_low"], rows["ci_high"], look)
        scale(line, scores["mean"])
        line[0].set_ylabel(kind.label(task))
    for axis in axes[-1]:
        axis.set_xscale("log")
        axis.set_xticks(tokens["tokens"])
        axis.xaxis.set_minor_locator(NullLocator())
        axis.xaxis.set_major_formatter(EngFormatter(places=0, sep=""))
        axis.set_xlabel("training tokens")
    handles = [reference_key("dense"), reference_key("none", ":")]
    legend(figure, handles + [key(name, results.looks[name]) for name in repairs])
    return figure
