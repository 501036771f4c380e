"""What holds for the tests of every tier."""

import os

import pytest


@pytest.fixture(scope="session", autouse=True)
def power_does_not_fail():
    """Thousands of small files, each flushed to the disk, take minutes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: None)
        yield
