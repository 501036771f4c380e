"""Where the weights between stages lie."""

import os
import re
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator

from bench.paths import at_home

# Where the rules write other things, and where the project's own files are.
TAKEN = {
    ".git",
    ".venv",
    "baselines",
    "bench",
    "config",
    "docs",
    "profiles",
    "seft",
    "tests",
    "workflow",
    "resources",
    "reports",
    ".snakemake",
    "results/benchmarks",
    "results/cells",
    "results/figures",
    "results/logs",
    "results/reference",
    "results/tuning",
}
# Braces are wildcards.
REFUSED = re.compile(r"[{}\x00-\x1f\x7f]|://|^\s|\s$")


def _checkpoints(folder: str) -> str:
    """The folder as Snakemake takes it into the patterns of its outputs."""
    # Other forms of one path are other files to Snakemake.
    path = Path(os.path.normpath(at_home(folder)))
    here = Path.cwd()
    whole = Path(os.path.normpath(here / path))
    inside = whole.relative_to(here) if whole.is_relative_to(here) else whole
    if (
        not folder
        or REFUSED.search(folder)
        # Of a user that there is not.
        or str(path).startswith("~")
        or inside in (Path(), Path("results"), *here.parents)
        or TAKEN & {inside.as_posix(), *(parent.as_posix() for parent in inside.parents)}
    ):
        raise ValueError(
            "allowed: the path, without braces, of a folder of its own, such as "
            "results/checkpoints or one on a scratch disk"
        )
    return str(path)


Checkpoints = Annotated[str, AfterValidator(_checkpoints)]
