"""Where the project lies."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
"""The folder that holds the Snakefile."""
