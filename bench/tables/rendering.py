"""Tables to read: Markdown and LaTeX, with the best in bold."""

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from bench.files import whole, write_csv

IN_LATEX = {sign: f"\\{sign}" for sign in "&%$#_{}"}
IN_LATEX |= {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}


@dataclass(frozen=True)
class Sheet:
    """A table as it is read.

    Attributes:
        text: what the cells say.
        best: which cells are bold, by column; none of the columns that are not there.
        caption: what the numbers are.
        labels: the columns that say what a row is; the others are aligned to the right.
    """

    text: pd.DataFrame
    best: Mapping[str, Sequence[bool]]
    caption: str
    labels: Sequence[str]

    @property
    def _bold(self) -> pd.DataFrame:
        marked = pd.DataFrame(dict(self.best), index=self.text.index)
        return marked.reindex(columns=self.text.columns, fill_value=False).astype(bool)

    def markdown(self) -> str:
        if self.text.empty:
            return f"No rows.\n\n{escape_markdown(self.caption)}\n"
        text = self.text.map(escape_markdown)
        table = text.where(~self._bold, "**" + text + "**").to_markdown(
            index=False,
            disable_numparse=True,
            colalign=["left" if name in self.labels else "right" for name in self.text],
        )
        return f"{table}\n\n{escape_markdown(self.caption)}\n"

    def latex(self) -> str:
        """A ``table`` environment; it needs the package booktabs."""
        style = self.text.style.format(escape="latex").format_index(escape="latex", axis="columns")
        bold = np.where(self._bold, "textbf:--rwrap", "")
        return (
            style.hide(axis="index")
            .apply(lambda _: bold, axis=None)
            .to_latex(
                hrules=True,
                caption=escape_latex(self.caption),
                column_format="".join("l" if name in self.labels else "r" for name in self.text),
            )
            .replace("±", r"$\pm$")
        )


def escape_latex(text: str) -> str:
    """What a record from elsewhere says is no command."""
    return "".join(IN_LATEX.get(sign, sign) for sign in text)


def escape_markdown(text: str) -> str:
    """What a record from elsewhere says is neither a column nor HTML."""
    return html.escape(" ".join(text.split()), quote=False).replace("|", r"\|")


def rounded(value: float, digits: int) -> str:
    """A number to so many digits; a larger one as a whole."""
    # From where rounding gives a digit more.
    return f"{value:.{digits}g}" if abs(value) < 10**digits - 0.5 else f"{value:,.0f}"


def number(value) -> str:
    """Four digits are more than the items support; what is missing is a blank."""
    if pd.isna(value):
        return ""
    if isinstance(value, float):
        return rounded(value, 4)
    return f"{value:,}" if isinstance(value, int | np.integer) else str(value)


def with_interval(value, low, high) -> str:
    """A score, and half of its interval."""
    if pd.isna(value) or pd.isna(low):
        return number(value)
    return f"{number(value)} ± {rounded((high - low) / 2, 2)}"


def with_ends(value, low, high) -> str:
    """A number, and how far it may be or was from there to either side."""
    ends = f" ({number(low)} to {number(high)})" if pd.notna(low) else ""
    return number(value) + ends


def write_table(table: pd.DataFrame, sheet: Sheet, csv: str | Path) -> None:
    """Write ``<name>.csv`` with all columns, and ``<name>.md`` and ``<name>.tex`` to read."""
    csv = Path(csv)
    write_csv(csv, table)
    for suffix, text in ((".md", sheet.markdown()), (".tex", sheet.latex())):
        with whole(csv.with_suffix(suffix)) as path:
            path.write_text(text, encoding="utf-8")
