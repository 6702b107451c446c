"""How many short programs the sandbox runs: `python -m benchmarks.sandbox`. Writes benchmarks/out/sandbox.json.

Each program defines a function, imports what answers often import, and is called three times. Workers are processes,
one for each core, as in a stage. On a busy machine look at the CPU seconds: they hardly depend on what else runs. (Not
given for bubblewrap, which does not account for what it has started.)
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import resource
import time
from pathlib import Path
from typing import Any

from pipeline.failures import UserError
from pipeline.records import FunctionTest
from pipeline.sandbox import launch
from pipeline.sandbox.isolation import BUBBLEWRAP, NAMESPACES, Mechanism
from pipeline.sandbox.run import execute, passed
from pipeline.store import hardware

OUT = Path(__file__).parent / "out" / "sandbox.json"
TARGET = 25
"""Executions a second and core that the design asks for."""

PROGRAM = """
from typing import List

def total(values: List[int], offset: int = {number}) -> int:
    result = 0
    for value in values:
        result += value + offset
    return result
"""


def measure(mechanism: Mechanism, executions: int, workers: int) -> dict[str, Any]:
    """Executions a second and core, and CPU seconds of each, with this mechanism."""
    started = time.perf_counter()
    with multiprocessing.get_context("fork").Pool(workers) as pool:
        results = pool.map(_work, [(mechanism, executions)] * workers, chunksize=1)
    seconds = max(result["seconds"] for result in results)
    cpu = sum(result["cpu_seconds"] for result in results) / (executions * workers)
    known = mechanism != BUBBLEWRAP
    return {
        "mechanism": mechanism,
        "workers": workers,
        "executions": executions * workers,
        "seconds": round(seconds, 3),
        "seconds_with_start": round(time.perf_counter() - started, 3),
        "executions_per_second_per_core": round(executions / seconds, 1),
        "cpu_ms_per_execution": round(1000 * cpu, 2) if known else None,
        "executions_per_cpu_second": round(1 / cpu, 1) if known else None,
    }


def _work(task: tuple[Mechanism, int]) -> dict[str, float]:
    mechanism, executions = task
    with launch.only(mechanism):
        _execute(0)  # starts the template
        cpu, started = _cpu_seconds(), time.perf_counter()
        for number in range(executions):
            _execute(number)
        seconds = time.perf_counter() - started
    # What the template used counts now that it has ended: its start is in the figure.
    return {"seconds": seconds, "cpu_seconds": _cpu_seconds() - cpu}


def _execute(number: int) -> None:
    cases = (([1, 2, 3], 6 + 3 * number), ([], 0), ([5], 5 + number))
    tests = [FunctionTest.of("total", values, expected=expected) for values, expected in cases]
    assert passed(execute(PROGRAM.format(number=number), tests), tests)


def _cpu_seconds() -> float:
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def usable(mechanism: Mechanism) -> bool:
    try:
        with launch.only(mechanism):
            _execute(0)
    except UserError:
        return False
    return True


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--executions", type=int, default=400, help="For each worker.")
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    options = parser.parse_args()
    results = [
        measure(mechanism, max(1, options.executions // (10 if mechanism == BUBBLEWRAP else 1)), options.workers)
        for mechanism in (NAMESPACES, BUBBLEWRAP)
        if usable(mechanism)
    ]
    load = [round(value, 1) for value in os.getloadavg()]
    found = {"target": TARGET, "results": results, "load_average": load, "hardware": hardware()}
    OUT.parent.mkdir(parents=True, exist_ok=True)
    OUT.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    for result in results:
        print(
            f"{result['mechanism']:<12} {result['executions_per_second_per_core']:>7} executions/s/core"
            f"  {result['cpu_ms_per_execution'] or '-':>6} ms CPU each  ({result['workers']} workers, load {load[0]})"
        )


if __name__ == "__main__":
    main()
