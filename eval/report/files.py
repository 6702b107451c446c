"""The four files of every report."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from pipeline.store import write_text

FILES = ("results.json", "results.csv", "report.md", "index.html")


def to_json(results: Mapping[str, object]) -> str:
    """The text of results.json: the same results always give the same text."""
    return json.dumps(results, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def write_all(directory: Path, results: Mapping[str, object], sheet: str, markdown: str, page: str) -> None:
    """Write the figures as JSON, and what was made of them: results.csv, report.md, index.html."""
    for name, text in zip(FILES, (to_json(results), sheet, markdown, page), strict=True):
        write_text(directory / name, text)
