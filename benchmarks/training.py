"""Preference training against the plain way and against TRL: `python -m benchmarks.training`, or `make bench-training`.

    python -m benchmarks.training            # everything: some forty minutes on two cores
    python -m benchmarks.training --quick    # tiny shapes, no TRL: that it runs; its figures mean nothing
    python -m benchmarks.training --only dpo_vs_trl_speed    # one comparison again; the file's other figures stay

Three sides train the same model (a random Llama, hidden 256, 4 layers, fp32) with the same AdamW on the same pairs:
`naive`, full logits of policy and reference as the seed's equations are written; `trl`, its DPOTrainer; and `kintsugi`,
the training package. Every measurement is a process of its own with two threads, the sides of a comparison take turns,
and the first step of each is not counted. The losses must agree, step by step, or there are no figures.

Memory is the most that the process ever held, less what it held once everything was imported: model, optimizer,
reference and activations count, Python's libraries do not. The absolute figures stand in the file as well, and what was
held before the first step. Figures go to benchmarks/out/training.json.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import fields
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks import training_cases, training_environment
from benchmarks.training_cases import GROWTH, TARGETS, TRL_SETTINGS, Comparison, Setting
from benchmarks.training_workload import Case
from pipeline.store import hardware

ROOT = Path(__file__).parents[1]
OUT = ROOT / "benchmarks" / "out" / "training.json"
REPEATS = 3
NAIVE_TENSORS = 9
"""About how many fp32 [2B, T, V] tensors the plain way holds at once; more than fits is not tried."""
AGREE = {"naive": 1e-4, "trl": 1e-3}
"""How far losses of a step may be apart, relatively, from the first step to the last."""


class Measurement:
    """What was found of one case, over all its repeats."""

    def __init__(self, case: Case) -> None:
        self.case = case
        self.runs: list[dict[str, Any]] = []

    def seconds(self, name: str = "seconds") -> float:
        """The median of all steps but the first of each run."""
        return median(step for run in self.runs for step in run[name][1:])

    @property
    def memory(self) -> float:
        """MiB beyond the imports, at most; the median of the runs."""
        return max(1.0, median(run["peak"] - run["imports"] for run in self.runs))

    def row(self) -> dict[str, Any]:
        """For the file."""
        return {
            **json.loads(self.case.to_json()),
            "seconds": round(self.seconds(), 4),
            "cpu_seconds": round(self.seconds("cpu_seconds"), 4),
            "fastest_seconds": round(min(step for run in self.runs for step in run["seconds"][1:]), 4),
            "pairs_per_second": round(self.case.pairs / self.seconds(), 3),
            "memory_mib": round(self.memory, 1),
            "memory_in_steps_mib": round(median(run["peak"] - run["before"] for run in self.runs), 1),
            "peak_rss_mib": round(median(run["peak"] for run in self.runs), 1),
            "losses": self.runs[0]["losses"],
        }


class Bench:
    """Runs cases, each in a process of its own, and remembers what was found."""

    def __init__(self, *, trl: Path | None, in_process: bool) -> None:
        self.trl, self.in_process = trl, in_process
        self.found: dict[str, Measurement] = {}
        self.skipped: list[str] = []

    def measure(self, cases: Sequence[Case], repeats: int = 1) -> None:
        """The cases in turn, as often as asked; those that cannot be run are told and left out."""
        for _ in range(repeats):
            for case in cases:
                if why := self._cannot(case):
                    self._skip(case, why)
                    continue
                measurement = self.found.setdefault(case.to_json(), Measurement(case))
                measurement.runs.append(self._run(case))
                print(f"{told(case):<78} {line(measurement)}", flush=True)

    def attempt(self, case: Case) -> Measurement | None:
        """A case that may fail, such as a setting that this machine does not have."""
        try:
            self.measure([case])
        except SystemExit as error:
            self._skip(case, str(error))
        return self.get(case)

    def get(self, case: Case) -> Measurement | None:
        return self.found.get(case.to_json())

    def _cannot(self, case: Case) -> str:
        if case.side == "trl" and self.trl is None:
            return "TRL is not there"
        needed = NAIVE_TENSORS * 8 * case.pairs * (case.prompt + case.response) * case.vocabulary / 2**30
        if case.side == "naive" and needed > (free := free_gib()):
            return f"it needs some {needed:.0f} GiB, and {free:.0f} are free"
        return ""

    def _skip(self, case: Case, why: str) -> None:
        self.found.pop(case.to_json(), None)
        if (words := f"{told(case)}: left out, {why}") not in self.skipped:
            self.skipped.append(words)
            print(words, flush=True)

    def _run(self, case: Case) -> dict[str, Any]:
        if self.in_process:
            from benchmarks.training_measure import measured

            return measured(case)
        python = str(self.trl) if case.side == "trl" else sys.executable
        environment = {**os.environ, "OMP_NUM_THREADS": "2", "PYTHONPATH": str(ROOT)}
        command = [python, "-m", "benchmarks.training_measure", case.to_json()]
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(f"{told(case)} failed: {(done.stderr.strip() or 'killed').splitlines()[-1]}")
        return dict(json.loads(done.stdout.strip().splitlines()[-1]))


def told(case: Case) -> str:
    shared = f"{case.shared:.0%} shared"
    words = f"{case.side} {case.loss} {case.weights} {shared} V={case.vocabulary} {case.reference} reference"
    return f"{words} {' '.join(f'{name}={value}' for name, value in case.settings.items())}".strip()


def line(found: Measurement) -> str:
    return f"{found.seconds():8.3f} s {found.seconds('cpu_seconds'):8.3f} CPU s {found.memory:8.0f} MiB"


def free_gib() -> float:
    import psutil

    return float(psutil.virtual_memory().available / 2**30)


def agreement(bench: Bench, comparison: Comparison) -> dict[str, float]:
    """How far the losses of the sides are apart at most, relatively; a SystemExit where that is too far."""
    ours = bench.get(comparison.ours)
    theirs = bench.get(comparison.theirs)
    if ours is None or theirs is None:
        return {}
    pairs = list(zip(ours.runs[0]["losses"], theirs.runs[0]["losses"], strict=False))
    apart = max(abs(mine - other) / abs(other) for mine, other in pairs)
    if not apart <= AGREE[comparison.theirs.side]:
        raise SystemExit(f"{told(comparison.ours)} and {told(comparison.theirs)} disagree, by {apart:.2g}: {pairs}")
    return {f"{told(comparison.ours)} and {comparison.theirs.side}": apart}


def ratios(bench: Bench, comparisons: Sequence[Comparison], growth: Sequence[Case]) -> Iterator[tuple[str, float]]:
    """The figures that have targets, and the speeds in CPU seconds, which hardly depend on what else runs."""
    for comparison in comparisons:
        ours, theirs = bench.get(comparison.ours), bench.get(comparison.theirs)
        if ours is None or theirs is None or not comparison.speed:
            continue
        yield comparison.speed, theirs.seconds() / ours.seconds()
        yield f"{comparison.speed}_in_cpu_seconds", theirs.seconds("cpu_seconds") / ours.seconds("cpu_seconds")
        if comparison.memory:
            yield comparison.memory, ours.memory / theirs.memory
            in_steps = [found.row()["memory_in_steps_mib"] for found in (ours, theirs)]
            yield f"{comparison.memory}_in_steps", in_steps[0] / max(1.0, in_steps[1])
    short, long = (bench.get(case) for case in growth or GROWTH)
    if short is not None and long is not None:
        yield training_cases.GROWTH_KEY, long.memory / short.memory


def fastest_trl(bench: Bench) -> tuple[Setting, list[dict[str, Any]]]:
    """TRL in all its settings on the workload of the target; the fastest that does the same work as we do."""
    rows, best = [], TRL_SETTINGS[0]
    for setting in TRL_SETTINGS if bench.trl else ():
        found = bench.attempt(setting.case)
        rows.append({"setting": setting.name, **({} if found is None else found.row())})
        previous = bench.get(best.case)
        if setting.comparable and found and previous and found.seconds() < previous.seconds():
            best = setting
    return best, rows


def found_before(options: argparse.Namespace) -> tuple[Setting, list[dict[str, Any]]] | None:
    """What `fastest_trl` gave for the file to which a single figure is added."""
    if not options.only or not options.out.exists():
        return None
    before = json.loads(options.out.read_text(encoding="utf-8"))
    named = [setting for setting in TRL_SETTINGS if setting.name == before["trl_fastest_setting"]]
    return (named[0], before["trl_settings"]) if named else None


def run(options: argparse.Namespace) -> dict[str, Any]:
    bench = Bench(trl=None if options.quick else training_environment.python(), in_process=options.quick)
    setting, settings = found_before(options) or fastest_trl(bench)
    comparisons, growth = training_cases.comparisons(setting), GROWTH
    if options.quick:
        comparisons, growth = training_cases.quick()
    if options.only:
        comparisons = tuple(one for one in comparisons if options.only in (one.speed, one.memory))
        growth = GROWTH if options.only == training_cases.GROWTH_KEY else ()
    agreed: dict[str, float] = {}
    for comparison in comparisons:
        repeats = 1 if options.quick or not comparison.speed else options.repeats
        bench.measure([comparison.theirs, comparison.ours, *comparison.also], repeats)
        agreed |= agreement(bench, comparison)
    bench.measure(growth)
    return {
        **{name: round(value, 3) for name, value in ratios(bench, comparisons, growth)},
        "trl_fastest_setting": setting.name if bench.trl else None,
        "trl_settings": settings,
        "losses_apart_at_most": agreed,
        "left_out": bench.skipped,
        "measurements": [found.row() for found in bench.found.values()],
        "gpu": None if options.quick or options.only else gpu(),
        "hardware": hardware(),
        "load_average": round(os.getloadavg()[0], 1),
    }


def laid_over(before: dict[str, Any], now: dict[str, Any]) -> dict[str, Any]:
    """The figures of a file with some of them measured again."""
    again = [_case(row) for row in now["measurements"]]
    kept = [row for row in before["measurements"] if _case(row) not in again]
    return {
        **before,
        **now,
        "losses_apart_at_most": {**before["losses_apart_at_most"], **now["losses_apart_at_most"]},
        "measurements": kept + now["measurements"],
        "gpu": before["gpu"],
    }


def _case(row: dict[str, Any]) -> dict[str, Any]:
    return {field.name: row[field.name] for field in fields(Case)}


def gpu() -> Any:
    """What `benchmarks.training_gpu` finds; None on a machine without a GPU."""
    done = subprocess.run([sys.executable, "-m", "benchmarks.training_gpu"], cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        return {"failed": (done.stderr.strip() or "killed").splitlines()[-1]}
    return json.loads(done.stdout.strip().splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="Tiny shapes in one process, without TRL.")
    parser.add_argument("--repeats", type=int, default=REPEATS, help="Turns that the sides of a target take.")
    parser.add_argument("--out", type=Path, default=OUT)
    keys = [target.key for target in TARGETS]
    parser.add_argument("--only", choices=keys, metavar="KEY", help="Measure this figure alone again; the others stay.")
    options = parser.parse_args()
    figures = run(options)
    if options.only and options.out.exists():
        figures = laid_over(json.loads(options.out.read_text(encoding="utf-8")), figures)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    for target in TARGETS:
        print(target.told(figures.get(target.key)))


if __name__ == "__main__":
    main()
