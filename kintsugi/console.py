"""The terminal of a run: one line for each node, progress while it is made, and everything else in log files."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.progress import Progress as RichProgress

from pipeline.contract import Progress as Report

NAME_WIDTH = 36
LOG_WIDTH = 120
LOG_SECONDS = 20.0
"""Where nobody watches, as in the log of a job, progress is a line from time to time."""


class Screen:
    """Writes to the terminal as it was when the program started, whatever the libraries print meanwhile."""

    def __init__(self) -> None:
        self._terminal = os.fdopen(os.dup(1), "w", encoding="utf-8", errors="replace")
        watched = self._terminal.isatty() or "COLUMNS" in os.environ
        self.console = Console(file=self._terminal, highlight=False, width=None if watched else LOG_WIDTH)
        self._progress = self._new_progress()
        self._tasks: dict[str, TaskID] = {}
        self._finished: set[str] = set()
        self._last = self._told = time.monotonic()

    def reused(self, name: str, unmet: str = "") -> None:
        """A line for a node that is there, and one for what is asked of it that it lacks."""
        self.console.print(f"[dim]•[/] {name:<{NAME_WIDTH}} [dim]in the store[/]")
        if unmet:
            self.console.print(f"  [yellow]{unmet}[/]")

    def waiting(self, name: str, reason: str = "is making it") -> None:
        self.console.print(f"[yellow]…[/] {name:<{NAME_WIDTH}} another process {reason}: waiting")

    def note(self, names: Sequence[str], note: str) -> None:
        """Something about nodes that were made which their user should hear of."""
        others = f" and {len(names) - 1} more" if len(names) > 1 else ""
        self.console.print(f"  [yellow]{escape(names[0])}{others}: {escape(note)}[/]")

    def stopping(self) -> None:
        """Said at once, for to stop what runs takes seconds."""
        self.console.print("[yellow]Stopping[/] what runs ...")

    @contextmanager
    def making(self, names: Sequence[str], log: Path) -> Iterator[None]:
        """Show these nodes while they are made; all output of this process and its children goes to `log`."""
        self._progress, self._tasks = self._new_progress(), {}
        self._last = self._told = time.monotonic()
        with captured(log), self._progress:
            self._task(names[0])
            yield

    def progress_of(self, name: str) -> Report:
        """The callback through which one node reports."""

        def report(done: int, total: int, unit: str) -> None:
            if name not in self._finished:
                self._progress.update(self._task(name), completed=done, total=total, unit=unit)
                self._tell(name, done, total, unit)

        return report

    def _tell(self, name: str, done: int, total: int, unit: str) -> None:
        """A line of progress for a log."""
        if not self.console.is_terminal and time.monotonic() - self._told >= LOG_SECONDS:
            self._told = time.monotonic()
            self.console.print(f"  {name:<{NAME_WIDTH}} {done:,} of {total:,} {unit}")

    def finish(self, name: str) -> None:
        """One line for a node that is made: how much of what, and the seconds since the one before."""
        if name in self._finished:
            return
        self._finished.add(name)
        task = self._progress.tasks[self._progress.task_ids.index(self._task(name))]
        amount = f"{int(task.completed):,} {task.fields['unit']}" if task.completed else ""
        self._progress.remove_task(self._tasks[name])
        seconds, self._last = time.monotonic() - self._last, time.monotonic()
        self.console.print(f"[green]✓[/] {name:<{NAME_WIDTH}} [dim]{amount:>16} {seconds:8.1f} s[/]")

    def _new_progress(self) -> RichProgress:
        return RichProgress(
            SpinnerColumn(),
            TextColumn("{task.description:<" + str(NAME_WIDTH) + "}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[unit]}"),
            TimeElapsedColumn(),
            console=self.console,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
            disable=not self.console.is_terminal,
        )

    def _task(self, name: str) -> TaskID:
        if name not in self._tasks:
            self._tasks[name] = self._progress.add_task(name, total=None, unit="")
        return self._tasks[name]


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
