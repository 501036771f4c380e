"""Where the project lies."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
"""The folder that holds the Snakefile."""


def at_home(path: str | Path) -> Path:
    """A path, in the home folder that its `~` or `~somebody` stands for, if there is that one."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        return Path(path)


def is_there(path: Path) -> bool:
    """Whether there is anything at a path, as far as one may look; no name is too long to ask."""
    try:
        return path.exists()
    except OSError:
        return False
