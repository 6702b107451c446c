"""Which inputs are edge cases; shared by what judges edge cases and what makes inputs."""

from __future__ import annotations

import json
from typing import Any

from pipeline.records import FunctionTest


def is_edge_case(test: FunctionTest) -> bool:
    """Whether the call is refused, or an argument is empty, None, below two, or a single element (ERRORS.md)."""
    if test.raises:
        return True
    arguments = json.loads(test.arguments)
    return any(_is_edge(argument) for argument in arguments)


def _is_edge(value: Any) -> bool:
    if value is None:
        return True
    if isinstance(value, str | list | dict):
        return len(value) < 2 or (isinstance(value, str) and not value.strip())
    return not isinstance(value, bool) and value < 2
