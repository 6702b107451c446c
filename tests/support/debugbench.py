"""The pairs of DebugBench, where the shared data are beside the checkout."""

import gzip
import json
from functools import cache
from pathlib import Path

import pytest

PATH = Path(__file__).parents[3] / "shared/data/debugbench_python.jsonl.gz"
needs_debugbench = pytest.mark.skipif(not PATH.exists(), reason="../shared/data/debugbench_python.jsonl.gz is not here")


@cache
def pairs() -> list[tuple[str, str]]:
    """Right and wrong code of all 400 rows."""
    with gzip.open(PATH, "rt", encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    return [(row["oracle_code"], row["buggy_code"]) for row in rows]


def texts() -> list[str]:
    return [text for pair in pairs() for text in pair]
