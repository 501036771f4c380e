"""The leaderboard: one page that opens from disk and asks nothing of the network."""

from bench.report.page import build_page
from bench.report.sources import Sources

__all__ = ["Sources", "build_page"]
