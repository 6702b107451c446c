"""What tests of every package share."""

import signal

import pytest

if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    # A shell starts what runs in the background with SIGINT ignored, and programs under test would inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def ray_session():
    """One local Ray for all tests that need it, stopped at the end."""
    from pipeline import cluster

    cluster.connect()
    yield
    cluster.disconnect()
