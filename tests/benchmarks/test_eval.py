"""`make bench-eval` on few prompts and random weights, from end to end, and which targets its figures meet."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.eval import BATCHES, TARGETS, met, peer

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
@pytest.mark.extensive
def test_the_benchmark_writes_its_figures_and_tells_of_its_progress(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks.eval", "--quick", "--gpus", "0", "--out", str(tmp_path / "eval.json")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, done.stderr[-4000:]
    figures = json.loads((tmp_path / "eval.json").read_text(encoding="utf-8"))
    assert all(figures[name] > 0 for name in TARGETS)
    sides = figures["sides"]
    assert set(sides) == {"node", "bare", "hf_1", "hf_16"}
    assert sides["node"]["tokens"] == sides["bare"]["tokens"] == sides["hf_16"]["tokens"]
    best = max(sides["hf_1"]["tokens_per_second"], sides["hf_16"]["tokens_per_second"])
    assert figures["vllm_vs_hf"] == pytest.approx(sides["node"]["tokens_per_second"] / best, rel=0.01)
    for word in ("node:", "bare:", "transformers:", "sandbox:", "round 1 of 1"):
        assert word in done.stderr


@pytest.mark.parametrize(("gpus", "expected"), [(0, None), (1, False)])
def test_five_times_transformers_binds_on_a_gpu_alone(gpus: int, expected: bool | None) -> None:
    figures = {"vllm_vs_hf": 3.0, "ray_overhead": 1.1, "executions_per_second_per_core": 24.0, "job": {"gpus": gpus}}
    assert [reached for _, reached in met(figures)] == [expected, True, False]


def test_one_prompt_at_a_time_answers_a_part_of_them() -> None:
    job = {"prompts": 2048, "rounds": 3}
    assert [peer(job, size)["prompts"] for size in BATCHES] == [128, 2048, 2048, 2048]
