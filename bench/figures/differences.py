"""Each repair less the reference repair: a forest plot."""

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bench.cells import UNREPAIRED
from bench.evaluation.tasks import PERPLEXITY
from bench.figures.results import Results
from bench.figures.style import panels
from bench.records.measures import KINDS
from bench.statistics.comparisons import Verdict, less, reference_of

NEGLIGIBLE = "#ececec"


def draw(results: Results) -> Figure | None:
    """The figure of one pattern of a model; None where no repair is compared with the reference.

    What is not as sparse as was asked is left out, and so is the unrepaired base, far from all.
    """
    reference = reference_of(results.repairs)
    place = ["pruner", "repair", "task"]
    ranked = results.scores.loc[results.scores["tie_group"].notna(), place]
    rows = less(results.comparisons, reference).merge(ranked, on=place)
    rows = rows[rows["repair"] != UNREPAIRED]
    tasks = {task: kind for task, kind in results.chief.items() if kind in KINDS.values()}
    repairs = [repair for repair in results.repairs if repair in set(rows["repair"])]
    if not repairs or not tasks:
        return None
    figure, axes = panels(
        len(tasks), results.pruners, height=0.4 + 0.17 * len(repairs), sharex="row", sharey=True
    )
    for line, (task, kind) in zip(axes, tasks.items(), strict=True):
        ours = rows[rows["task"] == task]
        for axis, pruner in zip(line, results.pruners, strict=True):
            axis.axvspan(-kind.negligible, kind.negligible, color=NEGLIGIBLE, linewidth=0, zorder=0)
            axis.axvline(0, color="black", linewidth=0.8, zorder=1)
            for row in ours[ours["pruner"] == pruner].to_dict("records"):
                _draw_row(axis, row, repairs.index(row["repair"]), results.looks[row["repair"]])
            axis.grid(visible=False, axis="y")
            axis.set_xlabel(f"{_name(task, kind)} less {reference}\n({kind.unit})")
        line[0].set_yticks(range(len(repairs)), repairs)
    axes[0][0].set_ylim(len(repairs) - 0.5, -0.5)
    return figure


def _draw_row(axis: Axes, row: dict, position: int, look: dict) -> None:
    settled = row["significant"] and row["verdict"] != Verdict.NO_VERDICT
    axis.errorbar(
        row["difference"],
        position,
        xerr=[[row["difference"] - row["ci_low"]], [row["ci_high"] - row["difference"]]],
        **look | {"linestyle": ""},
        markerfacecolor=look["color"] if settled else "white",
        elinewidth=1,
    )


def _name(task: str, kind) -> str:
    return f"log {kind.heading(task)}" if kind is KINDS[PERPLEXITY] else kind.heading(task)
