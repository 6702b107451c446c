"""Benchmark files that nobody here wrote, where they lie beside the checkout."""

from __future__ import annotations

import gzip
import json
from functools import cache
from pathlib import Path

import pytest

from pipeline.records import QARecord, Row
from pipeline.sources.files import read

HUMANEVAL = Path(__file__).parents[3] / "shared/data/humaneval.jsonl.gz"

needs_humaneval = pytest.mark.skipif(
    not HUMANEVAL.exists(), reason="../shared/data/humaneval.jsonl.gz is not in this checkout"
)


@cache
def humaneval() -> list[QARecord]:
    found = [row for row in read(HUMANEVAL) if isinstance(row, QARecord)]
    assert len(found) == 164
    return found


@cache
def humaneval_rows() -> dict[str, Row]:
    """The rows as they stand in the file, by their task ids."""
    with gzip.open(HUMANEVAL, "rt", encoding="utf-8") as lines:
        return {row["task_id"]: row for row in map(json.loads, lines)}
