import gc

import pytest

from bench.sources import SyntheticSource, fetch_model
from bench.sources.families import FAMILIES


@pytest.fixture(scope="session", autouse=True)
def imports_are_no_garbage():
    """Each training collects garbage: without what was imported, in no time."""
    gc.freeze()
    gc.enable()  # importing bench.jobs.job has disabled it


@pytest.fixture(scope="session", params=FAMILIES)
def family(request, tmp_path_factory):
    """Folder of a tiny model of each family, as it is fetched."""
    folder = tmp_path_factory.mktemp("families") / request.param
    # Weights wide enough for attention to matter to the predictions.
    wide = {"init_std" if request.param == "opt" else "initializer_range": 0.3}
    source = {"source": "synthetic", "articles": 4, "items": 20}
    fetch_model(SyntheticSource(**source, architecture=request.param, shape=wide), folder)
    return folder
