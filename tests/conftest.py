"""What tests of every package share."""

import pytest


@pytest.fixture(scope="session")
def ray_session():
    """One local Ray for all tests that need it, stopped at the end."""
    from pipeline import cluster

    cluster.connect()
    yield
    cluster.disconnect()
