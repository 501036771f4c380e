"""One file that stands for the source files that decide a job, as an input of it.

Snakemake looks up, compares and prints each input of each job. Named one by one, source files are
two thirds of the inputs of a large grid, and a third of the time that it takes to plan.
"""

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path

from bench.files import whole


def list_code(listing: str | Path, files: Iterable[str | Path], root: Path) -> None:
    """Write the digests of source files to ``listing``, unless it holds them already.

    So its time is that of the last change of what they hold. The format is that of ``sha256sum``.

    Args:
        listing: file to write.
        files: below ``root``; whole paths or relative to it.
        root: folder of the project.
    """
    listing = Path(listing)
    lines = []
    for path in sorted({root / file for file in files}):
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        lines.append(f"{digest}  {path.relative_to(root)}\n")
    text = "".join(lines)
    if not listing.exists() or listing.read_text(encoding="utf-8") != text:
        with whole(listing) as temporary:
            temporary.write_text(text, encoding="utf-8")


def listed_code(listing: str | Path, root: Path) -> list[str]:
    """Paths of the source files that :func:`list_code` was given, from the working folder."""
    lines = Path(listing).read_text(encoding="utf-8").splitlines()
    return [os.path.relpath(root / line.partition("  ")[2]) for line in lines]
