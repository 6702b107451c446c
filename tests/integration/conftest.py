"""One small run for all integration tests, kept by content key between runs of the suite."""

from __future__ import annotations

import pytest
from small_run import SMALL, Finished, run_experiment


@pytest.fixture(scope="session")
def small() -> Finished:
    return run_experiment(SMALL)
