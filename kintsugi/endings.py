"""How a command ends: what errors look like, their exit codes, and what Ctrl-C does."""

from __future__ import annotations

import errno
import os
import shlex
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from rich.console import Console
from rich.markup import escape

from pipeline.failures import UserError

BUG = 1
"""The exit code beside those of user errors, which `pipeline.failures` gives, and that of Ctrl-C."""

GOING_ON = "[yellow]Stopped.[/] What was made is kept: the same command goes on from here."
SHUTDOWN_SECONDS = 10

ENVIRONMENT_ERRORS = {
    errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.ENOTDIR, errno.EMFILE,
    errno.ENOMEM, errno.ESTALE,
}  # fmt: skip
"""What a file system or the kernel refuses. It is the machine's business, not a bug."""


def catch_signals() -> None:
    """Let Ctrl-C and SIGTERM end the program as KeyboardInterrupt, once.

    Whoever presses Ctrl-C again while things are being stopped would break the stopping; so that does nothing for some
    seconds. After that it interrupts whatever hangs.
    """
    last = time.monotonic() - SHUTDOWN_SECONDS

    def interrupt(number: int, frame: FrameType | None) -> None:
        nonlocal last
        if time.monotonic() - last >= SHUTDOWN_SECONDS:
            last = time.monotonic()
            raise KeyboardInterrupt

    if signal.getsignal(signal.SIGINT) != signal.SIG_IGN:  # as a shell sets it for what runs in the background
        signal.signal(signal.SIGINT, interrupt)
    signal.signal(signal.SIGTERM, interrupt)


@contextmanager
def going_on(console: Console) -> Iterator[None]:
    """Where the same command goes on after an interruption, say so."""
    try:
        yield
    except KeyboardInterrupt:
        console.print(f"\n{GOING_ON}")
        raise


def end_with(error: Exception, debug: bool) -> int:
    """Tell the user about an error and give the exit code. The traceback is for `debug`; a bug's is saved."""
    if debug:
        traceback.print_exception(error)
    told = _environment_error(error) if isinstance(error, OSError) else error
    if isinstance(told, UserError):
        _tell(f"{told.where}: " if told.where else "", told.what, told.hint)
        return told.exit_code
    hint = "Please report it with the traceback above." if debug else f"Please report it with {_save(error)}"
    text = str(error).partition("\n")[0]
    _tell("", f"this is a bug in Kintsugi: {type(error).__name__}{f': {text}' if text else ''}", hint)
    return BUG


def _environment_error(error: OSError) -> Exception:
    if error.errno not in ENVIRONMENT_ERRORS:
        return error
    where = str(error.filename) if error.filename else ""
    hint = "What was made is kept; the same command goes on from here."
    return UserError("environment", f"{error.strerror}.", where, hint)


def _tell(where: str, what: str, hint: str) -> None:
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    console.print(f"[bold red]error:[/] {escape(where)}{escape(what)}")
    if hint:
        console.print(f"  [dim]{escape(hint)}[/]")


def _save(error: Exception) -> str:
    """The path of a new file with the traceback and the command."""
    descriptor, path = tempfile.mkstemp(prefix="kintsugi-bug-", suffix=".log")
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(f"{shlex.join(sys.argv)}\nPython {sys.version}\n\n")
        traceback.print_exception(error, file=file)
    return path
