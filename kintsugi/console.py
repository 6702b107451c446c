"""The terminal of a run: one line for each node, progress while it is made, and everything else in log files."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn

from pipeline.contract import Progress as Report

NAME_WIDTH = 36


class Screen:
    """Writes to the terminal as it was when the program started, whatever the libraries print meanwhile."""

    def __init__(self) -> None:
        self._terminal = os.fdopen(os.dup(1), "w", encoding="utf-8", errors="replace")
        self.console = Console(file=self._terminal, highlight=False)
        self._progress: Progress | None = None
        self._tasks: dict[str, TaskID] = {}
        self._started: dict[str, float] = {}
        self._reused = 0

    def reused(self, name: str) -> None:
        self._reused += 1
        self.console.print(f"[dim]•[/] {name:<{NAME_WIDTH}} [dim]in the store[/]")

    def waiting(self, name: str) -> None:
        self.console.print(f"[yellow]…[/] {name:<{NAME_WIDTH}} another process is making it: waiting")

    @contextmanager
    def making(self, names: Sequence[str], log: Path) -> Iterator[None]:
        """Show these nodes while they are made; all output of this process and its children goes to `log`."""
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description:<" + str(NAME_WIDTH) + "}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[unit]}"),
            TimeElapsedColumn(),
            console=self.console,
            transient=True,
            disable=not self.console.is_terminal,
        )
        self._tasks, self._started = {}, {names[0]: time.monotonic()}
        self._names = list(names)
        with captured(log), self._progress:
            self._begin(names[0])
            yield
        for name in list(self._tasks):
            self._finish(name)

    def progress_of(self, name: str) -> Report:
        """The callback through which one node reports."""

        def report(done: int, total: int, unit: str) -> None:
            assert self._progress is not None
            if name not in self._tasks:
                self._begin(name)
            self._progress.update(self._tasks[name], completed=done, total=total, unit=unit)

        return report

    def _begin(self, name: str) -> None:
        """Show a node; those that were begun before it are done."""
        assert self._progress is not None
        for other in [other for other in self._tasks if self._names.index(other) < self._names.index(name)]:
            self._finish(other)
        self._started.setdefault(name, time.monotonic())
        self._tasks[name] = self._progress.add_task(name, total=None, unit="")

    def _finish(self, name: str) -> None:
        assert self._progress is not None
        seconds = time.monotonic() - self._started[name]
        task = self._progress.tasks[self._progress.task_ids.index(self._tasks[name])]
        amount = f"{int(task.completed):,} {task.fields['unit']}" if task.completed else ""
        self._progress.remove_task(self._tasks.pop(name))
        self.console.print(f"[green]✓[/] {name:<{NAME_WIDTH}} [dim]{amount:>16} {seconds:8.1f} s[/]")


@contextmanager
def captured(log: Path) -> Iterator[None]:
    """Send file descriptors 1 and 2, and so every library's chatter, to the end of a file."""
    log.parent.mkdir(parents=True, exist_ok=True)
    sys.stdout.flush()
    sys.stderr.flush()
    saved = os.dup(1), os.dup(2)
    with log.open("a", encoding="utf-8") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    try:
        yield
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        for number, descriptor in enumerate(saved, start=1):
            os.dup2(descriptor, number)
            os.close(descriptor)
