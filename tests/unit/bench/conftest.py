import pytest

from bench.sources import SyntheticSource, fetch_model


@pytest.fixture(scope="session")
def dense(tmp_path_factory):
    """Folder of a tiny model made on the fly, as it is fetched."""
    folder = tmp_path_factory.mktemp("models") / "tiny"
    fetch_model(SyntheticSource(source="synthetic"), folder)
    return folder
