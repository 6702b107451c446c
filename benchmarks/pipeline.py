"""The corruption pipeline against a plain `multiprocessing.Pool` that calls the same functions with as many workers.

    python benchmarks/pipeline.py                 # 15,000 and 150,000 rows: some fifteen minutes on two cores
    python benchmarks/pipeline.py --rows 500      # 500 and 5,000 rows

Rows are made up in the manner of Glaive's: answers of 200 to 400 tokens, no tests. Either side reads a .jsonl file,
breaks every answer with all error types and static verification, marks the spans, and writes Parquet. The pipeline is
the real one, `kintsugi run` with store, manifests and Ray. Every measurement is a process of its own; its memory is
that of all its processes together, shared pages counted once (PSS). Figures go to benchmarks/out/pipeline.json.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from itertools import islice
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipeline.records import QARecord

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "support")]

OUT = ROOT / "benchmarks" / "out" / "pipeline.json"
RATE, RATIO, MEMORY, LINEAR = 250, 1.25, 1.2, 1.15
"""The targets: rows a second, time over the pool's, and of the large run over the small one memory and time per row."""
LARGER = 10
START_ROWS = 64
"""What a run of so few rows takes is its start: Python, Ray, imports. Time is held to be linear beyond that."""
CHUNK = 256
LOOK_SECONDS = 2.0
SEED = 0


def write_rows(path: Path, count: int) -> None:
    from glaive_like import rows

    with path.open("w", encoding="utf-8") as file:
        for row in rows(count, SEED):
            file.write(json.dumps({"id": row.id, "question": row.prompt, "answer": row.response}) + "\n")


def run_pipeline(data: Path, workers: int, folder: Path) -> int:
    """`kintsugi run` on an experiment of three nodes; the number of pairs that came out."""
    from pipeline.store import Store

    nodes = {
        "qa": {"kind": "source", "from": str(data)},
        "broken": {"kind": "embed", "input": "qa", "verify": "static", "resources": {"concurrency": workers}},
        "pairs": {"kind": "annotate", "input": "broken", "resources": {"concurrency": workers}},
    }
    experiment = folder / "bench.yaml"
    experiment.write_text(json.dumps({"name": "bench", "seed": SEED, "nodes": nodes}), encoding="utf-8")
    command = [sys.executable, "-m", "kintsugi", "run", str(experiment)]
    places = ["--store", str(folder / "store"), "--runs", str(folder / "runs")]
    subprocess.run([*command, *places], check=True, stdout=sys.stderr, env={**os.environ, "PYTHONPATH": str(ROOT)})
    product, _, key = json.loads((folder / "runs" / "bench" / "nodes.json").read_text())["pairs"].partition("/")
    return Store(folder / "store").require(product, key).rows["out"]


def run_pool(data: Path, workers: int, folder: Path) -> int:
    """The same functions, called by hand."""
    with get_context("spawn").Pool(workers) as pool:
        tasks = ((folder / f"part-{number:05d}.parquet", chunk) for number, chunk in enumerate(_chunks(data)))
        return sum(pool.imap_unordered(_pool_task, tasks))


def _chunks(data: Path) -> Iterator[list[QARecord]]:
    from pipeline.records import QARecord
    from pipeline.sources.files import read

    rows = (row for row in read(data) if isinstance(row, QARecord))
    while chunk := list(islice(rows, CHUNK)):
        yield chunk


def _pool_task(task: tuple[Path, list[QARecord]]) -> int:
    from pipeline.errors import ERROR_TYPES
    from pipeline.records import PreferenceRecord, table_of
    from pipeline.stages.annotate import annotate_shard
    from pipeline.stages.embed import EmbedStage
    from pipeline.store import write_table

    path, records = task
    broken, _ = EmbedStage(tuple(ERROR_TYPES), SEED, verify="static")(records)
    pairs, _ = annotate_shard(broken)
    write_table(path, table_of(pairs, PreferenceRecord.SCHEMA))
    return len(pairs)


RUNS = {"pipeline": run_pipeline, "pool": run_pool}


def measured(side: str, data: Path, workers: int) -> dict[str, float]:
    """Seconds, peak memory in MiB and pairs of one run in a process of its own."""
    with tempfile.TemporaryDirectory(dir=data.parent) as folder:
        command = [sys.executable, __file__, "--only", side, "--data", str(data), "--workers", str(workers)]
        started = time.monotonic()
        process = subprocess.Popen([*command, "--folder", folder], stdout=subprocess.PIPE, text=True)
        peak = Peak(process.pid)
        out, _ = process.communicate()
        seconds = time.monotonic() - started
        if process.returncode:
            raise SystemExit(f"{side} failed: exit status {process.returncode}")
    print(f"{side:>9}: {int(out):,} pairs in {seconds:.1f} s, {peak.stop():.0f} MiB at most", flush=True)
    return {"seconds": seconds, "peak": peak.stop(), "pairs": int(out)}


class Peak:
    """Watches the memory of a process and all its descendants, every other second, since looking costs time."""

    def __init__(self, pid: int) -> None:
        self._pid, self._most, self._done = pid, 0, threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def stop(self) -> float:
        """The most that was seen, in MiB."""
        self._done.set()
        self._thread.join()
        return self._most / 2**20

    def _watch(self) -> None:
        while not self._done.wait(LOOK_SECONDS):
            self._most = max(self._most, sum(map(_pss, _family(self._pid))))


def _family(pid: int) -> list[int]:
    import psutil

    try:
        process = psutil.Process(pid)
        return [pid, *(child.pid for child in process.children(recursive=True))]
    except psutil.NoSuchProcess:
        return []


def _pss(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:")), 0)


def benchmark(rows: int, workers: int, folder: Path) -> dict[str, Any]:
    """Both sizes on both sides. On the small one the start of Ray weighs as much as a quarter of the work."""
    found: dict[str, dict[str, float]] = {}
    for size in (START_ROWS, rows, LARGER * rows):
        data = folder / f"{size}.jsonl"
        write_rows(data, size)
        if size != START_ROWS:
            found[f"pool of {size}"] = measured("pool", data, workers)
        found[str(size)] = measured("pipeline", data, workers)
        data.unlink()
    small, large = found[str(rows)], found[str(LARGER * rows)]
    pool, large_pool = found[f"pool of {rows}"], found[f"pool of {LARGER * rows}"]
    start = found[str(START_ROWS)]["seconds"]
    assert (small["pairs"], large["pairs"]) == (pool["pairs"], large_pool["pairs"]), "both sides do the same work"
    return {
        "rows": [rows, LARGER * rows],
        "workers": workers,
        "rows_per_second": round(LARGER * rows / large["seconds"], 1),
        "ratio_to_pool": round(large["seconds"] / large_pool["seconds"], 3),
        "ratio_to_pool_15k": round(small["seconds"] / pool["seconds"], 3),
        "peak_rss_15k": round(small["peak"], 1),
        "peak_rss_150k": round(large["peak"], 1),
        "seconds_15k": round(small["seconds"], 2),
        "seconds_150k": round(large["seconds"], 2),
        "seconds_start": round(start, 2),
        "seconds_pool_15k": round(pool["seconds"], 2),
        "seconds_pool_150k": round(large_pool["seconds"], 2),
        "peak_rss_pool_15k": round(pool["peak"], 1),
        "pairs": [small["pairs"], large["pairs"]],
    }


def met(figures: dict[str, Any]) -> Iterator[tuple[str, bool]]:
    """Each target, and whether the figures meet it."""
    yield "250 rows a second or more", figures["rows_per_second"] >= RATE
    yield "at most 1.25 times the pool's time", figures["ratio_to_pool"] <= RATIO
    yield (
        "ten times the rows in at most 1.2 times the memory",
        figures["peak_rss_150k"] <= MEMORY * figures["peak_rss_15k"],
    )
    small, large = (figures[f"seconds_{rows}"] - figures["seconds_start"] for rows in ("15k", "150k"))
    yield "time beyond the start linear within 15 %", 1 / LINEAR <= large / (LARGER * small) <= LINEAR


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rows", type=int, default=15_000, help="rows of the small run; the large one has ten times")
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--only", choices=RUNS, help=argparse.SUPPRESS)
    parser.add_argument("--data", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.only:
        print(RUNS[given.only](given.data, given.workers, given.folder))
        return
    with tempfile.TemporaryDirectory() as folder:
        figures = benchmark(given.rows, given.workers, Path(folder))
    given.out.parent.mkdir(parents=True, exist_ok=True)
    given.out.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(figures, indent=2))
    for target, reached in met(figures):
        print(f"{'met' if reached else 'MISSED':>6}: {target}")


if __name__ == "__main__":
    main()
