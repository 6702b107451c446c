"""docs/errors.md shows what the error types do today."""

from __future__ import annotations

from pathlib import Path

from error_examples import page

PAGE = Path(__file__).parents[2] / "docs/errors.md"
RENEW = "renew it: PYTHONPATH=. python tests/support/error_examples.py > docs/errors.md"


def test_the_page_of_error_types_is_current() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), RENEW
