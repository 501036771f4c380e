"""Cells: what a row of the benchmark is, and where its record lies."""

from dataclasses import dataclass

DENSE = "dense"
UNREPAIRED = "none"
DEFAULT_BUDGET = "default"
NO_BUDGET = "none"
# Beside the record of a cell.
HISTORY_FILE = "history.json.gz"
# Rows of one base are compared, and what is trained is compared at one budget.
BASE = ["model", "pruner", "pattern", "budget"]
IDENTITY = [*BASE, "repair"]


@dataclass(frozen=True, order=True)
class Cell:
    """One row of the benchmark.

    Attributes:
        model, pruner, pattern: of its base.
        repair: of the base.
        seed: of the training.
        budget: what it is trained with: the name of an entry of `budgets`, `default` for
            `training` as it is; always `none` where nothing is trained.
    """

    model: str
    pruner: str
    pattern: str
    repair: str
    seed: int
    budget: str = DEFAULT_BUDGET

    def __post_init__(self):
        if self.repair == UNREPAIRED:
            object.__setattr__(self, "budget", NO_BUDGET)

    @property
    def base(self) -> str:
        """Folder name of the pruned base that the cell repairs."""
        return f"{self.pruner}-{self.pattern}"

    @property
    def row(self) -> tuple[str, ...]:
        """What it has of ``IDENTITY``: the row of the tables that it is a seed of."""
        return tuple(getattr(self, key) for key in IDENTITY)


def cell_of(wildcards) -> Cell:
    """The cell of a job's wildcards, their budget as a :func:`suffix`; no seed is seed 0."""
    w, seed = wildcards, wildcards.get("seed", 0)
    return Cell(w.model, w.pruner, w.pattern, w.repair, int(seed), budget_of(w.budget))


def sent_name(submission: str, repair: str) -> str:
    """What tables call the repair of a submission."""
    return f"{submission}/{repair}"


def sender_of(repair: str) -> tuple[str, str]:
    """The submission that a repair of the tables is of, empty if of none, and its name there."""
    submission, _, own = repair.rpartition("/")
    return submission, own


def budget_of(suffix: str) -> str:
    """The budget that a :func:`suffix` in the name of a training stands for."""
    return suffix.removeprefix("@") or DEFAULT_BUDGET


def suffix(budget: str) -> str:
    """What names of files have of a budget: nothing of the default one, or where there is none."""
    return "" if budget in (DEFAULT_BUDGET, NO_BUDGET) else f"@{budget}"


def place(name: str, known: list[str]) -> tuple:
    """What methods are sorted by: their order in ``known``; what is not in it comes last."""
    return (known.index(name), "") if name in known else (len(known), name)


def dense_cell(model: str) -> Cell:
    """The cell of the model as it came: not pruned, not repaired."""
    return Cell(model, pruner=DENSE, pattern=DENSE, repair=UNREPAIRED, seed=0)


def record_path(cell: Cell) -> str:
    """Where the cell's record lies, relative to the working folder."""
    if cell.pruner == DENSE:
        return f"results/cells/{cell.model}/{DENSE}/record.json"
    repair = f"{cell.repair}{suffix(cell.budget)}"
    return f"results/cells/{cell.model}/{cell.base}/{repair}/seed{cell.seed}/record.json"


def history_path(cell: Cell) -> str:
    """Where the history of the cell's training lies, relative to the working folder."""
    return record_path(cell).replace("record.json", HISTORY_FILE)


def base_folder(checkpoints: str, cell: Cell) -> str:
    """Where the base that the cell repairs lies."""
    return f"{checkpoints}/{cell.model}/{cell.base}/base"


def training_folder(checkpoints: str, cell: Cell, training: str) -> str:
    """Where the training lies whose result the cell's repair merges."""
    trained = f"{training}{suffix(cell.budget)}"
    return f"{checkpoints}/{cell.model}/{cell.base}/{trained}/seed{cell.seed}"
