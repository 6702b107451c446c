"""What tests of every package share."""

import gc
import signal

import pytest
from hypothesis import settings

if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    # A shell starts what runs in the background with SIGINT ignored, and programs under test would inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)


# How long an example takes says more of what else the machine does.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


def pytest_collection_finish() -> None:
    """What the tests import stays: a collector that looks at all of it takes 0.3 s, and statsmodels calls it often."""
    gc.collect()
    gc.freeze()


def pytest_sessionfinish() -> None:
    """At the end everything is let go in order; nanobind complains otherwise."""
    gc.unfreeze()


@pytest.fixture(scope="session")
def ray_session():
    """One local Ray for all tests that need it, stopped at the end."""
    from pipeline import cluster

    cluster.connect()
    yield
    cluster.disconnect()
