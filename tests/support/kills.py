"""The kill harness: SIGKILL a driver or a worker at a seeded moment of a stage, run again, compare every byte.

A seed decides the stage, the victim, how far the stage has come, and how long after that the blow falls. Victims are
found among the descendants of the process that the test itself started.
"""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import psutil
from small_run import ROOT, Finished, command, last_log, run_to_the_end

from pipeline.store import DRAFTS, LEASES, MANIFEST, SCRATCH, file_hash, verify

PATIENCE_SECONDS = 300
WORKER_SECONDS = 10
"""How long workers may outlive their driver. Ray's look for their raylet every second; cores may be busy."""
HARMLESS_SECONDS = 75
"""How long Ray's agents may, and workers that were only starting. They hold nothing and have no work, but wait 60 s for
a GCS that is gone as well: the agents to report the end of the raylet (`publish_error_to_driver` in
ray/_private/utils.py), the workers to begin."""
POLL_SECONDS = 0.01
LOOK_SECONDS = 0.5
HONEST_ENDS = {0, 5}
"""How a run may end that lost a worker: it recovered by itself, or it said that it failed."""

REFERENCES = "references"
"""What preference runs compute before they train, and share."""

Victim = Literal["driver", "worker"]


@dataclass(frozen=True)
class Stage:
    """What is made anew, and the seconds a moment can be late: before anything is there, and between two steps.

    Where checkpoints are written every `saving` steps, the blow falls while one is.
    """

    nodes: tuple[str, ...]
    startup: float
    pause: float
    saving: int = 0


STAGES = {
    "source": Stage(("qa",), 0.5, 0.05),
    "embed": Stage(("broken",), 8, 3),
    "annotate": Stage(("pairs",), 6, 0.3),
    "sft": Stage(("reference", "corrupted"), 20, 0.5),
    "preference": Stage(("mended/dpo-granular", "mended/tdpo2-granular"), 20, 0.5),
    "generate": Stage(("answers/reference", "answers/corrupted"), 18, 1),
    "score": Stage(("scores/reference", "scores/corrupted"), 6, 0.5),
    "compare": Stage(("report",), 1, 0.2),
    "saving": Stage(("reference",), 0.5, 0.05, saving=10),
}

CASES: tuple[tuple[str, Victim], ...] = (
    ("sft", "driver"),
    ("generate", "worker"),
    ("embed", "worker"),
    ("preference", "worker"),
    ("source", "driver"),
    ("compare", "driver"),
    ("embed", "driver"),
    ("sft", "worker"),
    ("generate", "driver"),
    ("score", "worker"),
    ("annotate", "driver"),
    ("preference", "driver"),
    ("score", "driver"),
    ("annotate", "worker"),
    ("saving", "driver"),
    ("saving", "worker"),
)
"""Seeds go through these in turn, so that a few of them cover much. Source and compare have no workers."""


@dataclass(frozen=True)
class Blow:
    """One kill: `wait` seconds after `done` files and steps of the stage are there; `choice` picks among victims."""

    seed: int
    stage: str
    victim: Victim
    done: int
    wait: float
    choice: float

    def __str__(self) -> str:
        return f"seed {self.seed}: {self.victim} in {self.stage}, {self.wait:.2f} s after {self.done} files and steps"


def draw(seed: int, totals: dict[str, int]) -> Blow:
    """The blow of a seed, where a whole stage makes `totals` files and steps. Every third falls before the first."""
    stage, victim = CASES[seed % len(CASES)]
    rng = random.Random(seed)
    done = 0 if rng.random() < 1 / 3 else rng.randint(1, totals[stage])
    wait = rng.uniform(0, STAGES[stage].pause if done else STAGES[stage].startup)
    return Blow(seed, stage, victim, done, wait, rng.random())


def kill_and_run_again(seed: int, small: Finished, folder: Path) -> Blow:
    """The whole case: a copy of the finished run without one stage, a kill in the middle of making it, and a rerun."""
    store, runs = folder / "store", folder / "runs"
    shutil.copytree(small.store.root, store, ignore=shutil.ignore_patterns(LEASES, DRAFTS))
    blow = draw(seed, {name: progress([small.directory(node) for node in STAGES[name].nodes]) for name in STAGES})
    directories = [store / small.directory(node).relative_to(small.store.root) for node in STAGES[blow.stage].nodes]
    family: list[psutil.Process] = []
    try:
        blow = strike_in_time(blow, directories, store, runs, family)
        struck = time.monotonic()
        run_to_the_end(store, runs)
        for members, seconds in ((_at_work(family), WORKER_SECONDS), (family, HARMLESS_SECONDS)):
            left = survivors(members, patience=max(0, struck + seconds - time.monotonic()))
            assert not left, f"outlive the run: {[_described(process) for process in left]}. {blow}"
    finally:
        for process in survivors(family, patience=0):
            process.kill()
    for node, directory in zip(STAGES[blow.stage].nodes, directories, strict=True):
        assert verify(directory) == [], f"{node}. {blow}"
        assert fingerprint(directory) == fingerprint(small.directory(node)), f"{node}. {blow}"
    for directory in (store / REFERENCES).iterdir():
        assert verify(directory) == [], str(blow)
        assert fingerprint(directory) == fingerprint(small.store.root / REFERENCES / directory.name), str(blow)
    assert leftovers(store) == [], str(blow)
    return blow


def progress(directories: Sequence[Path]) -> int:
    """How far artifacts are: finished files and training steps."""
    return sum(map(_progress, directories))


def _progress(directory: Path) -> int:
    files = [path for path in directory.rglob("*") if not path.name.startswith(".") and SCRATCH not in path.parts]
    made = sum(path.suffix in {".parquet", ".safetensors", ".md"} for path in files)
    metrics = directory / "metrics.jsonl"
    return made + (metrics.read_bytes().count(b"\n") if metrics.exists() else 0)


def strike_in_time(
    blow: Blow, directories: Sequence[Path], store: Path, runs: Path, family: list[psutil.Process]
) -> Blow:
    """Strike, earlier and earlier where the run was over first, and give the blow that fell."""
    for _ in range(4):
        made_anew = [*directories, store / REFERENCES] if blow.stage == "preference" else directories
        for directory in made_anew:
            shutil.rmtree(directory, ignore_errors=True)
        if strike(blow, directories, store, runs, family):
            return blow
        blow = replace(blow, done=blow.done * 3 // 4, wait=blow.wait / 3)
    raise AssertionError(f"the run was always over before the kill. {blow}")


def strike(blow: Blow, directories: Sequence[Path], store: Path, runs: Path, family: list[psutil.Process]) -> bool:
    """Start the command and kill at the moment; whether that was before the end. `family` gets the run's processes."""
    with (runs.parent / "output.txt").open("w+") as output:
        started = subprocess.Popen(command(store, runs), cwd=ROOT, stdout=output, stderr=subprocess.STDOUT)
        driver = psutil.Process(started.pid)
        family.append(driver)
        try:
            struck = _strike(blow, directories, driver, started, family)
            code = _end(driver, started, family)
        except BaseException:
            started.kill()
            started.wait()
            raise
        output.seek(0)
        shown = output.read()
    said = f"{blow}\n{shown}\n{last_log(runs)}"
    if not struck:
        assert code == 0, said
        return False
    if blow.victim == "driver":
        assert code == -signal.SIGKILL, said
    else:
        assert code in HONEST_ENDS, f"exit code {code}. {said}"
        assert "Traceback" not in shown, said
    return True


def _strike(
    blow: Blow, directories: Sequence[Path], driver: psutil.Process, started: Any, family: list[psutil.Process]
) -> bool:
    running = lambda: started.poll() is None  # noqa: E731
    reached = lambda: directories[0].exists() and progress(directories) >= blow.done  # noqa: E731
    if not _until(reached, running):
        return False
    every = STAGES[blow.stage].saving
    if every and not hold_a_save(directories[0], every, running):
        return False
    time.sleep(blow.wait)
    found: list[psutil.Process] = []

    def look() -> bool:
        found[:] = [driver] if blow.victim == "driver" else workers(driver)
        return bool(found)

    if not _until(look, running):
        return False
    family += descendants(driver)
    try:
        found[int(blow.choice * len(found))].kill()
    except psutil.NoSuchProcess:
        return False
    return True


def hold_a_save(directory: Path, every: int, running: Callable[[], bool]) -> bool:
    """Have a checkpoint of a model stay half written: in place of one rank's last file stands a pipe nobody reads from.

    That rank waits for ever, the other files are there, and the pointer names the checkpoint before, if there is one.
    False where the run ended first.
    """
    metrics, scratch = directory / "metrics.jsonl", directory / SCRATCH
    while running():
        steps = metrics.read_bytes().count(b"\n") if metrics.exists() else 0
        # Between checkpoints nothing is removed. Where the next one was faster, the pipe's place is taken.
        if steps % every:
            folder = scratch / f"step-{steps // every * every + every}"
            with suppress(OSError):
                folder.mkdir(exist_ok=True)
                os.mkfifo(folder / "random-1.pt")
                return _until((folder / "random-0.pt").exists, running)
        time.sleep(POLL_SECONDS)
    return False


def _end(driver: psutil.Process, started: subprocess.Popen[bytes], family: list[psutil.Process]) -> int:
    """Wait for the command and give its exit code. What it starts meanwhile, in place of a worker, is family too."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while started.poll() is None:
        assert time.monotonic() < deadline, f"the run hangs: {[_described(process) for process in family]}"
        family += set(descendants(driver)) - set(family)
        time.sleep(LOOK_SECONDS)
    return started.returncode


def _until(condition: Callable[[], bool], running: Callable[[], bool]) -> bool:
    """Wait for a condition; False where the run ended first."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while running():
        if condition():
            return running()
        assert time.monotonic() < deadline, "the moment never came"
        time.sleep(POLL_SECONDS)
    return False


def descendants(driver: psutil.Process) -> list[psutil.Process]:
    try:
        return driver.children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def workers(driver: psutil.Process) -> list[psutil.Process]:
    """Ray's workers of a run, oldest first: those at work, or else the idle ones. Its agents are services."""
    found = [(process, _title(process)) for process in descendants(driver)]
    ours = [(process, title) for process, title in found if title.startswith("ray::") and not HARMLESS.search(title)]
    busy = [process for process, title in ours if not title.startswith("ray::IDLE")]
    return sorted(busy or [process for process, _ in ours], key=lambda process: process.pid)


def _at_work(family: Sequence[psutil.Process]) -> list[psutil.Process]:
    return [process for process in family if not HARMLESS.search(_title(process))]


HARMLESS = re.compile(
    r"^ray::(Dashboard|RuntimeEnv)Agent|/(dashboard/agent|runtime_env/agent/main|workers/default_worker)\.py "
)
"""Titles of Ray's agents, now and while they start, and of workers that have not begun."""


def _described(process: psutil.Process) -> str:
    """What a process is and does, for a message."""
    with suppress(psutil.Error, OSError):
        waits_in = Path(f"/proc/{process.pid}/wchan").read_text()
        return f"{process.pid} {_title(process).strip()}: {process.status()} in {waits_in}, parent {process.ppid()}"
    return f"{process.pid}: gone"


def _title(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


def survivors(family: Sequence[psutil.Process], patience: float = 60) -> list[psutil.Process]:
    """Which of these processes still run after a while. Their ids may belong to others by now; psutil tells."""
    _, alive = psutil.wait_procs([process for process in family if process.is_running()], timeout=patience)
    return [process for process in alive if process.is_running()]


def fingerprint(directory: Path) -> dict[str, Any]:
    """All that an artifact says, without times: its manifest, its files' hashes, its metrics line by line."""
    manifest = json.loads((directory / MANIFEST).read_text(encoding="utf-8"))
    for name in ("created", "wall_seconds", "git_commit", "hardware", "libraries"):
        manifest.pop(name)
    timed = {name for name in manifest["files"] if name.startswith("tensorboard/") or name in TIMED}
    files = {name: file_hash(directory / name) for name in manifest.pop("files") if name not in timed}
    lines = (directory / "metrics.jsonl").read_text().splitlines() if "metrics.jsonl" in timed else []
    table = json.loads((directory / "results.json").read_text()) if "results.json" in timed else {}
    return _untimed({"manifest": manifest, "files": files, "metrics": [json.loads(line) for line in lines], **table})


TIMED = {"metrics.jsonl", "results.json", "results.csv", "report.md", "index.html"}
"""Files that name seconds. The reports are written from results.json alone, which is compared without them."""


def _untimed(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            key: _untimed(item)
            for key, item in value.items()
            if not key.endswith(("seconds", "per_second", "per_minute"))
        }
    return [_untimed(item) for item in value] if isinstance(value, list) else value


def leftovers(store: Path) -> list[str]:
    """What should not outlive a run that ended well: scratch, temporary files, a worker group's notes."""
    patterns = (SCRATCH, "*.tmp", f"{DRAFTS}/*")
    found = [path for pattern in patterns for path in store.rglob(pattern)]
    return [path.relative_to(store).as_posix() for path in found]
