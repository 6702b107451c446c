"""SIGKILL of the driver or a worker at seeded moments of every stage, then the same command: the bytes are the same.

`KILL_SEEDS=100-119` in the environment takes other seeds for the extensive test.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from kills import CASES, STAGES, draw, kill_and_run_again, workers
from small_run import ROOT, Finished

pytestmark = pytest.mark.slow

FEW = (14, 2, 8)
"""The driver while training saves a checkpoint, a worker in embed, the driver while answers are generated."""

FIRST, _, LAST = os.environ.get("KILL_SEEDS", "0-19").partition("-")
MANY = [seed for seed in range(int(FIRST), int(LAST or FIRST) + 1) if seed not in FEW]


@pytest.mark.parametrize("seed", FEW)
def test_a_killed_run_goes_on_and_leaves_the_same_bytes(seed: int, small: Finished, tmp_path: Path) -> None:
    print(kill_and_run_again(seed, small, tmp_path))


@pytest.mark.extensive
@pytest.mark.parametrize("seed", MANY)
def test_so_does_one_killed_at_any_moment_of_any_stage(seed: int, small: Finished, tmp_path: Path) -> None:
    print(kill_and_run_again(seed, small, tmp_path))


CONNECTED = """
from pipeline import cluster
cluster.connect()
print("connected", flush=True)
input()
cluster.disconnect()
"""


def test_no_worker_is_started_before_something_needs_one() -> None:
    """Ray would start some for a first driver and let that wait for all of them: for ever, where one was killed."""
    command = [sys.executable, "-c", CONNECTED]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as driver:
        assert driver.stdout is not None
        assert driver.stdout.readline() == "connected\n"
        found = workers(psutil.Process(driver.pid))
        driver.communicate("\n", timeout=60)
    assert found == []


def test_twenty_seeds_reach_every_stage_and_every_kind_of_victim() -> None:
    blows = [draw(seed, dict.fromkeys(STAGES, 10)) for seed in range(20)]
    assert {(blow.stage, blow.victim) for blow in blows} == set(CASES)
    assert {stage for stage, _ in CASES} == set(STAGES)
    assert {bool(blow.done) for blow in blows} == {False, True}
