"""SIGKILL of the driver in the middle of a stage, then the same command: it goes on, and the bytes are the same."""

from __future__ import annotations

import os
import pty
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from small_run import LORA, ROOT, SMALL, Finished, command, last_log, run_to_the_end

from pipeline.store import file_hash, read_manifest

pytestmark = pytest.mark.slow

PATIENCE_SECONDS = 180

Directory = Callable[[str], Path]


def shards(node: str, least: int) -> Callable[[Directory], bool]:
    """True once a node has some of its shards."""
    return lambda directory: len(list((directory(node) / "data").glob("part-*.parquet"))) >= least


def steps(node: str, least: int) -> Callable[[Directory], bool]:
    """True once a model has made some steps."""

    def reached(directory: Directory) -> bool:
        path = directory(node) / "metrics.jsonl"
        return path.exists() and len(path.read_text().splitlines()) >= least

    return reached


STAGES = {
    "embed": (["broken", "pairs"], shards("broken", 1)),
    "annotate": (["pairs"], shards("pairs", 1)),
    "training": (["reference", "corrupted"], steps("reference", 14)),
    "generation": (["answers/reference", "answers/corrupted"], shards("answers/reference", 1)),
}
"""What is made anew in each case, and the moment of the kill: some of the first node is there, or almost all."""


@pytest.mark.parametrize("stage", STAGES)
def test_a_killed_run_goes_on_and_leaves_the_same_bytes(stage: str, small: Finished, tmp_path: Path) -> None:
    kill_and_run_again(small, *STAGES[stage], tmp_path)


def test_a_killed_adapter_goes_on_too(adapters: Finished, tmp_path: Path) -> None:
    """Its checkpoint holds the adapter alone, and dropout goes on with each rank's own random state."""
    kill_and_run_again(adapters, ["adapter/1"], steps("adapter/1", 6), tmp_path, LORA)


def kill_and_run_again(
    done: Finished, nodes: list[str], moment: Callable[[Directory], bool], tmp_path: Path, experiment: Path = SMALL
) -> None:
    """Make nodes of a finished run anew in a copy of its store, with a kill on the way, and compare."""
    store, runs = tmp_path / "store", tmp_path / "runs"
    shutil.copytree(done.store.root, store, ignore=shutil.ignore_patterns(".leases", ".group-*"))

    def directory(node: str) -> Path:
        return store / done.directory(node).relative_to(done.store.root)

    for node in nodes:
        shutil.rmtree(directory(node))
    kill_when(lambda: moment(directory), store, runs, experiment)
    assert read_manifest(directory(nodes[0])) is None or read_manifest(directory(nodes[-1])) is None

    run_to_the_end(store, runs, experiment)
    for node in nodes:
        assert results_of(directory(node)) == results_of(done.directory(node)), node


def kill_when(moment: Callable[[], bool], store: Path, runs: Path, experiment: Path) -> None:
    """Start the command and SIGKILL the driver as soon as the moment has come."""
    program = command(store, runs, experiment)
    process = subprocess.Popen(program, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not moment():
        assert process.poll() is None, f"the run ended before the kill\n{last_log(runs)}"
        assert time.monotonic() < deadline, f"the moment never came\n{last_log(runs)}"
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()


def results_of(directory: Path) -> dict[str, str]:
    """sha256 of everything that an artifact is for: shards, rejects, weights."""
    kinds = ("*.parquet", "*.safetensors", "tokenizer.json")
    found = [path for pattern in kinds for path in directory.rglob(pattern)]
    return {path.relative_to(directory).as_posix(): file_hash(path) for path in sorted(found)}


def test_ctrl_c_on_a_terminal_says_how_to_go_on_and_shows_no_chatter(tmp_path: Path) -> None:
    store, runs = tmp_path / "store", tmp_path / "runs"
    terminal, inside = pty.openpty()
    process = subprocess.Popen(command(store, runs), cwd=ROOT, stdout=inside, stderr=inside)
    os.close(inside)
    shown: list[bytes] = []
    reader = threading.Thread(target=_read_all, args=(terminal, shown))
    reader.start()
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not list(store.glob("rows/*/data/part-*.parquet")):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    process.wait(timeout=60)
    reader.join(timeout=10)
    output = b"".join(shown).decode(errors="replace")
    assert process.returncode == 130
    assert "the same command goes on from here" in output
    assert not [word for word in ("Traceback", "INFO", "WARNING") if word in output]


def _read_all(terminal: int, shown: list[bytes]) -> None:
    """Everything that a terminal shows, until the last process has closed it."""
    with suppress(OSError):
        while piece := os.read(terminal, 4096):
            shown.append(piece)
