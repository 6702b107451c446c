"""One measurement of the training benchmark, in a process of its own: `python -m benchmarks.training_measure CASE`.

The last line of its output is JSON: seconds and CPU seconds of every step, the losses, and memory in MiB: when
everything was imported, before the first step (model, optimizer and cached reference are there), and at most.
"""

from __future__ import annotations

import importlib
import json
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.training_workload import Case

THREADS = 2


@dataclass
class Meter:
    """Time and memory of the steps of one process. A step ends where the next one starts: collation counts."""

    imports: float = field(default_factory=lambda: memory("VmRSS"))
    before: float = 0.0
    seconds: list[float] = field(default_factory=list)
    cpu_seconds: list[float] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    _last: tuple[float, float] = (0.0, 0.0)

    def ready(self) -> None:
        """The first step starts."""
        self.before = memory("VmRSS")
        self._last = time.perf_counter(), time.process_time()

    def step(self, loss: float) -> None:
        """A step has ended with this loss."""
        now = time.perf_counter(), time.process_time()
        self.seconds.append(now[0] - self._last[0])
        self.cpu_seconds.append(now[1] - self._last[1])
        self.losses.append(loss)
        self._last = now

    def found(self) -> dict[str, object]:
        return {
            "seconds": self.seconds,
            "cpu_seconds": self.cpu_seconds,
            "losses": self.losses,
            "imports": self.imports,
            "before": self.before,
            "peak": memory("VmHWM"),
        }


def memory(field_name: str) -> float:
    """This process's resident memory, now (VmRSS) or at most (VmHWM), in MiB.

    Not `getrusage`, whose maximum is handed down from the process that started this one.
    """
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    line = next(line for line in lines if line.startswith(field_name + ":"))
    return int(line.split()[1]) / 1024


def measured(case: Case) -> dict[str, object]:
    """A case, in this process. That means something for its memory where it is the first."""
    import torch
    from transformers import LlamaForCausalLM

    assert LlamaForCausalLM, "imported now, so that it counts as an import"
    torch.set_num_threads(THREADS)
    side = importlib.import_module(f"benchmarks.training_{case.side}")
    meter = Meter()
    side.run(case, meter)
    return meter.found()


def main() -> None:
    print(json.dumps(measured(Case(**json.loads(sys.argv[1])))))


if __name__ == "__main__":
    main()
