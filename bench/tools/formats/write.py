"""Write the results of a folder in a format of others."""

from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from bench.files import whole
from bench.records.record import records_below
from bench.tools.formats.cell import Files, ScoredCell
from bench.tools.formats.eval_results import eval_results
from bench.tools.formats.every_eval_ever import every_eval_ever
from bench.tools.formats.lm_eval import lm_eval

FORMATS: dict[str, Callable[[ScoredCell, datetime, str | None], Files]] = {
    "every-eval-ever": every_eval_ever,
    "eval-results": eval_results,
    "lm-eval": lm_eval,
}
"""By the name of the format what makes the files of a cell: of the cell, the time at which they are
made, and who ran it; None where that is not known.
"""


def export_results(
    results: Path, form: str, output: Path, at: datetime, organization: str | None = None
) -> tuple[int, list[str]]:
    """Write the results of all cells that did not fail, in one of :data:`FORMATS`, into a new
    folder, whole or not at all.

    Returns:
        How many files there are; and what is left out, a line each, once for all cells.

    Raises:
        ValueError: there are no records, one cannot be read, none has anything that the format can
            say, or ``output`` exists (one line).
    """
    records, count, left_out = records_below(results), 0, []
    if output.exists():
        raise ValueError(f"{output}: exists; allowed: a folder that is still to be made")
    with whole(output) as folder:
        for path in records:
            cell = ScoredCell(path)
            if cell.record["error"] is not None:
                left_out.append(f"{cell.name}: failed: {cell.record['error']['message']}")
                continue
            made = FORMATS[form](cell, at, organization)
            left_out += made.left_out
            for name, text in made.texts.items():
                file = folder / name
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(text, encoding="utf-8")
                count += 1
        left_out = list(dict.fromkeys(left_out))
        if not count:
            raise ValueError(f"{results}: nothing that {form} can say: {'; '.join(left_out)}")
    return count, left_out
