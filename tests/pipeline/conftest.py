"""The sandbox variants that hostile code is tried in."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sandboxes import VARIANTS, sandbox

RARE = ("as a user", "bubblewrap")
"""Variants that take longer, or differ from another one in how they begin alone."""


@pytest.fixture(
    params=[pytest.param(name, marks=[pytest.mark.extensive] if name in RARE else []) for name in VARIANTS],
    scope="module",
)
def variant(request: pytest.FixtureRequest) -> Iterator[str]:
    with sandbox(request.param):
        yield request.param
