"""The learning-rate sweep: every repair has the same number of trials on one base and budget."""

from collections.abc import Collection
from pathlib import Path

import pandas as pd

from baselines.repair import REPAIRS
from bench.cells import BASE
from bench.config.variants import place_of
from bench.files import UnreadableError, read_table
from bench.paths import ROOT

SWEEPS = ROOT / "config/tuning"
"""The sweeps that the learning rates of the configurations come from: ``<model>.csv``, what
``make tune`` wrote; in ``study`` those of the budgets that only the study has.
"""

COLUMNS = [
    *BASE,
    "tokens",
    "repair",
    "learning_rate",
    "base_validation_loss",
    "validation_loss",
    "chosen",
]


def recorded_sweeps() -> list[Path]:
    """The files of all of ``SWEEPS``, each named after its model."""
    return [path for pattern in ("*.csv", "study/*.csv") for path in sorted(SWEEPS.glob(pattern))]


def tuning_table(trials: list[dict]) -> pd.DataFrame:
    """One row a trial, by budget, repair and rate; of a repair, the lowest loss is ``chosen``.

    Args:
        trials: what :func:`bench.stages.repair.try_learning_rate` wrote of each; one that diverged
            has a loss of null, and is not chosen.
    """
    table = pd.DataFrame(trials)
    table["place"] = table["repair"].map(place_of)
    table = table.sort_values(["tokens", "budget", "place", "learning_rate"], ignore_index=True)
    best = table.dropna(subset="validation_loss").groupby(["budget", "repair"])
    table["chosen"] = table.index.isin(best["validation_loss"].idxmin())
    return table[COLUMNS]


def read_sweep(path: Path) -> pd.DataFrame:
    """A recorded sweep: what :func:`tuning_table` made.

    Raises:
        UnreadableError: it is none; one line.
    """
    try:
        table = read_table(path)
    except ValueError as error:
        reason = " ".join(str(error).split())
        raise UnreadableError(path, f"no table in CSV: {reason}") from error
    missing = [name for name in COLUMNS if name not in table]
    if missing or table["chosen"].dtype != bool:
        reason = f"no {', '.join(missing)}" if missing else "chosen is not True or False in all"
        raise UnreadableError(path, f"{reason}; allowed: what `make tune` writes")
    return table


def sweep_markdown(path: Path, repairs: Collection[str] = REPAIRS) -> str:
    """A recorded sweep to read: at each budget one row for each of some repairs that trains."""
    table = read_sweep(path)
    base = table.iloc[0]
    rows = [
        f"Base: `{base.model}`, `{base.pruner}`, `{base.pattern}`, with a validation loss of "
        f"{base.base_validation_loss:.3f} before repair.",
    ]
    for (budget, tokens), trials in table.groupby(["budget", "tokens"], sort=False):
        rows += [
            "",
            f"| repair | trials of {tokens:,} tokens (`{budget}`): learning rate → loss | choice |",
            "| --- | --- | --- |",
        ]
        for name, repair in REPAIRS.items():
            if repair.training == name and name in repairs:
                rows.append(_row(name, trials[trials["repair"] == name]))
    return "\n".join(rows)


def _row(repair: str, trials: pd.DataFrame) -> str:
    shown = []
    for trial in trials.itertuples():
        loss = "diverged" if pd.isna(trial.validation_loss) else f"{trial.validation_loss:.3f}"
        text = f"{_rate(trial.learning_rate)} → {loss}"
        shown.append(f"**{text}**" if trial.chosen else text)
    choice = ", ".join(_rate(rate) for rate in trials.loc[trials["chosen"], "learning_rate"])
    return f"| `{repair}` | {', '.join(shown) or 'not swept'} | {choice} |"


def _rate(rate: float) -> str:
    mantissa, exponent = f"{rate:e}".split("e")
    return f"{float(mantissa):g}e{int(exponent)}"
