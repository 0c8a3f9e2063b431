import pytest

from training.simulation import SyntheticData, simulate


@pytest.fixture(scope="session")
def data() -> SyntheticData:
    return simulate()
