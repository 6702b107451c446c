"""Ctrl-C on a terminal, at moments from loading to the report: exit code 130, what to do next, and no process stays."""

from __future__ import annotations

import fcntl
import os
import pty
import shutil
import subprocess
import termios
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest
from kills import descendants, progress, survivors, workers
from small_run import ROOT, Finished, command

from pipeline.store import DRAFTS, LEASES

pytestmark = pytest.mark.slow

PATIENCE_SECONDS = 180
CHATTER = ("Traceback", "INFO", "WARNING", "Exception", "SIGINT")


@dataclass
class Terminal:
    """A program that runs on a terminal of its own, as in a shell: keys go to it and to all that it started."""

    process: subprocess.Popen[bytes]
    keyboard: int
    shown: list[bytes] = field(default_factory=list)

    def read_all(self) -> None:
        """Everything that the terminal shows, until the last process has closed it."""
        with suppress(OSError):
            while piece := os.read(self.keyboard, 4096):
                self.shown.append(piece)

    def press_ctrl_c(self) -> None:
        os.write(self.keyboard, b"\x03")

    def wait_for(self, moment: Callable[[psutil.Process], bool]) -> None:
        driver = psutil.Process(self.process.pid)
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not moment(driver):
            assert self.process.poll() is None, b"".join(self.shown).decode()
            assert time.monotonic() < deadline, "the moment never came"
            time.sleep(0.01)


@contextmanager
def terminal(arguments: list[str]) -> Iterator[Terminal]:
    """Run a program on a new terminal; nothing of it stays, whatever happens."""
    keyboard, inside = pty.openpty()

    def own_the_terminal() -> None:
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)

    process = subprocess.Popen(
        arguments,
        cwd=ROOT,
        stdin=inside,
        stdout=inside,
        stderr=inside,
        start_new_session=True,
        preexec_fn=own_the_terminal,
    )
    os.close(inside)
    found = Terminal(process, keyboard)
    reader = threading.Thread(target=found.read_all, daemon=True)
    reader.start()
    try:
        yield found
        reader.join(timeout=30)
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()


def loading(driver: psutil.Process) -> bool:
    """The program's own modules are being imported."""
    return "_pydantic_core" in Path(f"/proc/{driver.pid}/maps").read_text()


@dataclass(frozen=True)
class Case:
    """What is made anew, when Ctrl-C is pressed, and how often."""

    nodes: tuple[str, ...]
    moment: Callable[[list[Path], psutil.Process], bool]
    presses: int = 1


CASES = {
    "loading": Case(("qa",), lambda _, driver: loading(driver)),
    "training": Case(("reference",), lambda made, _: progress(made) > 5, presses=3),
    "ray-starts": Case(("broken",), lambda made, _: made[0].exists()),
    "embedding": Case(("broken",), lambda made, _: progress(made) > 1),
    "training-starts": Case(("reference",), lambda _, driver: len(workers(driver)) > 2, presses=2),
    "engine-starts": Case(("answers/reference",), lambda _, driver: len(workers(driver)) > 0),
    "generation": Case(("answers/reference", "answers/corrupted"), lambda made, _: progress(made) > 0, presses=2),
    "scoring": Case(("scores/reference", "scores/corrupted"), lambda made, _: progress(made) > 0),
    "report": Case(("report",), lambda made, _: made[0].exists(), presses=2),
}
FEW = ("loading", "training")


@pytest.mark.parametrize(
    "name", [name if name in FEW else pytest.param(name, marks=pytest.mark.extensive) for name in CASES]
)
def test_ctrl_c_ends_cleanly_and_says_how_to_go_on(name: str, small: Finished, tmp_path: Path) -> None:
    case = CASES[name]
    store, runs = tmp_path / "store", tmp_path / "runs"
    shutil.copytree(small.store.root, store, ignore=shutil.ignore_patterns(LEASES, DRAFTS))
    directories = [store / small.directory(node).relative_to(small.store.root) for node in case.nodes]
    for directory in directories:
        shutil.rmtree(directory)
    family: list[psutil.Process] = []
    try:
        with terminal(command(store, runs)) as found:
            found.wait_for(lambda driver: case.moment(directories, driver))
            family += descendants(psutil.Process(found.process.pid))
            for _ in range(case.presses):
                found.press_ctrl_c()
                time.sleep(0.3)
            found.process.wait(timeout=60)
        output = b"".join(found.shown).decode(errors="replace")
        assert found.process.returncode == 130, output
        assert "Stopped." in output
        assert name in ("loading",) or "the same command goes on from here" in output
        assert not [word for word in CHATTER if word in output], output
        assert survivors(family, patience=30) == []
    finally:
        for process in survivors(family, patience=0):
            process.kill()
