"""`make bench-pipeline` on few rows, from end to end: every figure is there and both sides made the same pairs."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
KEYS = {"rows_per_second", "ratio_to_pool", "peak_rss_15k", "peak_rss_150k", "seconds_15k", "seconds_150k"}


@pytest.mark.slow
@pytest.mark.extensive
def test_the_benchmark_writes_its_figures(tmp_path: Path) -> None:
    command = [sys.executable, "benchmarks/pipeline.py", "--rows", "40", "--out", str(tmp_path / "figures.json")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    figures = json.loads((tmp_path / "figures.json").read_text(encoding="utf-8"))
    assert set(figures) >= KEYS and all(figures[key] > 0 for key in KEYS)
    assert figures["rows"] == [40, 400] and figures["pairs"] == [40, 400]
    assert figures["peak_rss_15k"] > figures["peak_rss_pool_15k"] > 50, "Ray's processes are seen"
