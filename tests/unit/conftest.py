import gc

import pytest


@pytest.fixture(scope="session", autouse=True)
def imports_are_no_garbage():
    """Each training collects garbage: without what was imported, in no time."""
    gc.freeze()
    gc.enable()  # importing bench.job has disabled it
