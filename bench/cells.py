"""Cells: what a row of the benchmark is, and where its record lies."""

from dataclasses import dataclass

DENSE = "dense"
UNREPAIRED = "none"
IDENTITY = ["model", "pruner", "pattern", "repair"]


@dataclass(frozen=True, order=True)
class Cell:
    """One row of the benchmark."""

    model: str
    pruner: str
    pattern: str
    repair: str
    seed: int

    @property
    def base(self) -> str:
        """Folder name of the pruned base that the cell repairs."""
        return f"{self.pruner}-{self.pattern}"


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
    return f"results/cells/{cell.model}/{cell.base}/{cell.repair}/seed{cell.seed}/record.json"


def history_path(cell: Cell) -> str:
    """Where the history of the cell's training lies, relative to the working folder."""
    return record_path(cell).replace("record.json", "history.json.gz")


def base_folder(checkpoints: str, cell: Cell) -> str:
    """Where the base that the cell repairs lies."""
    return f"{checkpoints}/{cell.model}/{cell.base}/base"


def training_folder(checkpoints: str, cell: Cell, training: str) -> str:
    """Where the training lies whose result the cell's repair merges."""
    return f"{checkpoints}/{cell.model}/{cell.base}/{training}/seed{cell.seed}"
