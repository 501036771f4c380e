"""The environment that the workflow gives to its scripts."""

import os
import sys
from pathlib import Path


def set_environment(root: Path) -> None:
    """Let scripts, which are processes of their own, import the project at ``root``.

    Progress bars are redrawn where someone sees them, and are a few lines where they are logged.
    """
    inherited = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(root), inherited]))
    os.environ.setdefault("TQDM_MININTERVAL", "0.5" if sys.stderr.isatty() else "15")
