"""The small experiment of the integration tests: how to run it, and where what it made is found."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from kintsugi.experiment import load
from kintsugi.graph import Graph, build
from pipeline.store import Manifest, Store

ROOT = Path(__file__).parents[2]
SMALL = ROOT / "tests" / "assets" / "small.yaml"
LORA = ROOT / "tests" / "assets" / "lora.yaml"
CACHE = ROOT / ".cache" / "tests"


@dataclass(frozen=True)
class Finished:
    """A finished run: its graph, store and run directory, and what the command printed."""

    graph: Graph
    store: Store
    runs: Path
    output: str

    def directory(self, node: str) -> Path:
        found = self.graph.nodes[node]
        return self.store.directory(found.kind.product, found.key)

    def manifest(self, node: str) -> Manifest:
        found = self.graph.nodes[node]
        return self.store.require(found.kind.product, found.key)


def command(store: Path, runs: Path, experiment: Path = SMALL) -> list[str]:
    """`kintsugi run` on an experiment, in the environment of the tests."""
    places = ["--store", str(store), "--runs", str(runs)]
    return [sys.executable, "-m", "kintsugi", "run", str(experiment), *places]


def run_to_the_end(store: Path, runs: Path, experiment: Path = SMALL) -> subprocess.CompletedProcess[str]:
    """Run it; the last log is part of the failure where it fails."""
    environment = {**os.environ, "COLUMNS": "120"}
    done = subprocess.run(
        command(store, runs, experiment), cwd=ROOT, env=environment, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}\n{last_log(runs)}"
    return done


def run_experiment(experiment: Path) -> Finished:
    """Run an experiment in the cache, where it is found again as long as its keys stay the same."""
    store, runs = CACHE / "store", CACHE / "runs"
    done = run_to_the_end(store, runs, experiment)
    graph = build(load(experiment))
    return Finished(graph, Store(store), runs / graph.experiment.name, done.stdout)


def python(*words: str, said: str = "") -> str:
    """What `python WORDS` prints, in a process of its own that hears `said`."""
    done = subprocess.run(
        [sys.executable, *words],
        input=said,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=400,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return done.stdout


def last_log(runs: Path) -> str:
    logs = sorted(runs.rglob("*.log"), key=lambda path: path.stat().st_mtime)
    return logs[-1].read_text(errors="replace")[-4000:] if logs else ""
