"""What the engine's module sets for a process."""

from __future__ import annotations

import subprocess
import sys

FAULTS = """
from resource import RUSAGE_SELF, getrusage
from statistics import median
import torch
from training.engine import keep_freed_memory

def faults():
    before = getrusage(RUSAGE_SELF).ru_minflt
    torch.ones(2**24)
    return getrusage(RUSAGE_SELF).ru_minflt - before

def usual():
    return median(faults() for _ in range(15))

fresh = usual()
keep_freed_memory()
print(fresh, usual())
"""


def test_memory_that_a_step_frees_is_there_for_the_next_one() -> None:
    """64 MiB are 16,384 pages of 4 KiB, each a fault where the block is fresh; huge pages make 32 of them.

    The heap settles after a few: a small block that comes to lie behind a large one makes the next want fresh pages.
    """
    done = subprocess.run([sys.executable, "-c", FAULTS], capture_output=True, text=True, check=True)
    fresh, kept = map(int, done.stdout.split())
    assert kept < fresh / 2
