"""One small run for all integration tests, kept by content key between runs of the suite, and one browser."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, sync_playwright
from small_run import LORA, SMALL, Finished, run_experiment


@pytest.fixture(scope="session")
def small() -> Finished:
    return run_experiment(SMALL)


@pytest.fixture(scope="session")
def adapters(small: Finished) -> Finished:
    """Adapters on the models of the small run."""
    return run_experiment(LORA)


CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Not for the whole session: Playwright's event loop would be in the way of others."""
    if CHROMIUM is None:
        pytest.skip("NO PAGE WAS TESTED IN A BROWSER: there is no Chromium here. `make browser` installs Debian's.")
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM)
        yield started
        started.close()
