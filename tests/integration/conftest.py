"""One small run for all integration tests, kept by content key between runs of the suite."""

from __future__ import annotations

import pytest
from small_run import CACHE, SMALL, Finished, run_small

from kintsugi.experiment import load
from kintsugi.graph import build
from pipeline.store import Store


@pytest.fixture(scope="session")
def small() -> Finished:
    """The small experiment, made once and then found in the cache as long as its keys stay the same."""
    store, runs = CACHE / "store", CACHE / "runs"
    done = run_small(store, runs)
    return Finished(build(load(SMALL)), Store(store), runs / "small", done.stdout)
