"""One small run for all integration tests, kept by content key between runs of the suite."""

from __future__ import annotations

import pytest
from small_run import LORA, SMALL, Finished, run_experiment


@pytest.fixture(scope="session")
def small() -> Finished:
    return run_experiment(SMALL)


@pytest.fixture(scope="session")
def adapters(small: Finished) -> Finished:
    """Adapters on the models of the small run."""
    return run_experiment(LORA)
