"""The parent's side of the sandbox: the strongest mechanism that works here, and jobs sent to its template process.

One template (`child.py`) serves a process and ends with it. It starts once, because starting Python takes longer than
most answers; what it forks for each job is sealed off anew.
"""

from __future__ import annotations

import atexit
import json
import os
import select
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Literal

from pipeline.failures import UserError
from pipeline.sandbox import UNSAFE_EXEC, child
from pipeline.sandbox.child import EXIT_CPU_LIMIT, EXIT_CRASHED
from pipeline.sandbox.isolation import BUBBLEWRAP, NAMESPACES, NOBODY, UNSAFE, Mechanism
from pipeline.sandbox.kernel import IsolationError
from pipeline.sandbox.visible import hidden, is_link, shown

__all__ = ["EXIT_CPU_LIMIT", "HINT", "Ended", "only", "run", "stop", "used"]

ROOT = Path(__file__).parents[2]
INSIDE = "/kintsugi"
"""Where our own code lies within bubblewrap."""

START_SECONDS, STOP_SECONDS = 60.0, 30.0

HINT = (
    "Answers are not run without isolation. Run as root with CAP_SYS_ADMIN, or allow user namespaces: "
    "sysctl kernel.unprivileged_userns_clone=1 (Debian), kernel.apparmor_restrict_unprivileged_userns=0 (Ubuntu), "
    "user.max_user_namespaces above 0; in Docker, --privileged or --security-opt seccomp=unconfined. Or install "
    "bubblewrap. Where this machine has nothing to lose: --unsafe-exec."
)

Reason = Literal["exit", "wall", "output"]


@dataclass(frozen=True, slots=True)
class Ended:
    """What a job wrote, how it came to its end, and its exit status."""

    output: bytes
    reason: Reason
    code: int


@dataclass(frozen=True)
class _Template:
    """A template process of this process, ready for jobs."""

    mechanism: Mechanism
    process: subprocess.Popen[bytes]
    requests: socket.socket

    def close(self) -> None:
        self.requests.close()
        self.process.wait()


_LOCK = threading.Lock()
_templates: list[_Template] = []
"""Those that wait for jobs: at most one, and none with bubblewrap, whose jobs have one each."""

_used: set[Mechanism] = set()

_only: list[Mechanism] = []


def used() -> list[Mechanism]:
    """The mechanisms that have run code in this process since the last call of this: what results are to record."""
    found = sorted(_used)
    _used.clear()
    return found


def run(job: dict[str, Any], wall_seconds: float, output_bytes: int) -> Ended:
    """Run one job, sealed off as strongly as this machine can. Nothing of it is left when this returns.

    Raises an environment error where it cannot be isolated and the user has not asked for `--unsafe-exec`.
    """
    with _template() as template, _directory(template.mechanism) as directory:
        _used.add(template.mechanism)
        return _run(template, {**job, "directory": directory}, wall_seconds, output_bytes)


def _run(template: _Template, job: dict[str, Any], wall_seconds: float, output_bytes: int) -> Ended:
    deadline = time.monotonic() + wall_seconds
    control, theirs = socket.socketpair()
    results, end = os.pipe()
    try:
        with _in_memory(json.dumps(job).encode()) as source, theirs, os.fdopen(end, "wb"):
            socket.send_fds(template.requests, [b"job"], [source.fileno(), end, theirs.fileno()])
        output, reason = _read(results, output_bytes, deadline)
        return _ended(control, output, reason, deadline)
    finally:  # whatever happens: without us the supervisor ends the job
        os.close(results)
        control.close()


def _ended(control: socket.socket, output: bytes, reason: Reason, deadline: float) -> Ended:
    """Wait for the supervisor's word, first until the deadline, then with an order to end the job."""
    said = b""
    if reason == "exit":  # it held the channel to its end
        control.settimeout(max(0.001, deadline - time.monotonic()))
        try:
            said = control.recv(16)
        except TimeoutError:
            reason = "wall"
    if reason != "exit":
        control.shutdown(socket.SHUT_WR)
        control.settimeout(STOP_SECONDS)
        said = control.recv(16)
    return Ended(output, reason, int(said) if said.isdigit() else EXIT_CRASHED)


def _read(results: int, most: int, deadline: float) -> tuple[bytes, Reason]:
    waiting = select.poll()
    waiting.register(results, select.POLLIN)
    output = bytearray()
    while (left := deadline - time.monotonic()) > 0:
        if not waiting.poll(1000 * left):
            break
        piece = os.read(results, 1 << 16)
        if not piece:
            return bytes(output), "exit"
        output += piece
        if len(output) > most:
            return bytes(output), "output"
    return bytes(output), "wall"


@contextmanager
def _directory(mechanism: str) -> Iterator[str]:
    """Where a job may write, if that is a directory of this machine: without namespaces it is."""
    if mechanism != UNSAFE:
        yield ""
        return
    directory = tempfile.mkdtemp(prefix="kintsugi-unsafe-")
    try:
        Path(directory).chmod(0o777)  # a job of root's runs as nobody
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


@contextmanager
def _template() -> Iterator[_Template]:
    """A template for one job: the one that waits, or a new one of the strongest mechanism that works here."""
    with _LOCK:
        if _templates and _templates[0].process.poll() is not None:
            _templates.clear()
        template = _templates[0] if _templates else start_strongest()
        single = template.mechanism == BUBBLEWRAP
        if not single and not _templates:
            _templates.append(template)
    try:
        yield template
    finally:
        if single:
            template.close()


@contextmanager
def only(mechanism: Mechanism) -> Iterator[None]:
    """No other mechanism within, in template processes of its own: to look at one that is not the strongest here."""
    stop()
    _only.append(mechanism)
    try:
        yield
    finally:
        stop()
        _only.pop()


def start_strongest() -> _Template:
    """Own namespaces; else bubblewrap, which may be allowed where we are not; else nothing, or what the user takes."""
    refusals = []
    for mechanism in _candidates():
        try:
            return _start(mechanism)
        except IsolationError as error:
            refusals.append(f"{mechanism}: {error}")
    raise UserError("environment", f"code cannot be isolated here ({'; '.join(refusals)}).", hint=HINT)


def _candidates() -> Sequence[Mechanism]:
    """The mechanisms to try, strongest first."""
    if _only:
        return _only[-1:]
    allowed = os.environ.get(UNSAFE_EXEC) == "1"
    return (NAMESPACES, BUBBLEWRAP, UNSAFE) if allowed else (NAMESPACES, BUBBLEWRAP)


def _start(mechanism: Mechanism) -> _Template:
    """A bare interpreter: nothing of our environment, and no hook that would make a big parent fork for real."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs, _in_memory(b"") as errors:
        process = subprocess.Popen(
            _command(mechanism),
            stdin=theirs.fileno(),
            stdout=subprocess.DEVNULL,
            stderr=errors,
            cwd="/",
            env=_environment(),
            start_new_session=True,
            close_fds=True,
        )
        theirs.close()
        said = _first_word(ours)
        if said == b"ready":
            return _Template(mechanism, process, ours)
        process.kill()
        process.wait()
        errors.seek(0)
        why = said or errors.read().strip().rpartition(b"\n")[2] or b"the interpreter did not start"
    ours.close()
    raise IsolationError(why.decode("utf-8", "replace")[:300])


def _first_word(requests: socket.socket) -> bytes:
    requests.settimeout(START_SECONDS)
    with suppress(OSError):
        return requests.recv(1024)
    return b""


def _command(mechanism: Mechanism) -> list[str]:
    python = getattr(sys, "_base_executable", None) or sys.executable
    start = [python, "-S", "-s", "-P", "-B", "-X", "utf8", "-c", child.START]
    if mechanism != BUBBLEWRAP:
        return [*start, str(ROOT), mechanism]
    program = shutil.which("bwrap")
    if program is None:
        raise IsolationError("bwrap is not installed")
    return [program, *_bubblewrap_options(python), *start, INSIDE, mechanism]


def _bubblewrap_options(python: str) -> list[str]:
    """A root like that of `isolation`, with our own code in it, since it has to start there."""
    paths = [path for path in (*shown(), os.path.realpath(python)) if path != os.devnull]
    visible = [
        word
        for path in paths
        for word in (("--symlink", str(Path(path).readlink()), path) if is_link(path) else ("--ro-bind", path, path))
    ]
    covered = [word for path in hidden() for word in ("--tmpfs", path, "--remount-ro", path)]
    package = f"{INSIDE}/pipeline/sandbox"
    nobody = ["--uid", str(NOBODY), "--gid", str(NOBODY)]
    return [
        *("--unshare-all", "--unshare-user", "--disable-userns", *nobody, "--cap-drop", "ALL"),
        *("--die-with-parent", "--new-session", "--clearenv", "--setenv", "PYTHONHASHSEED", "0"),
        *("--dev-bind", os.devnull, os.devnull),
        *visible,
        *covered,
        *("--ro-bind", str(ROOT / "pipeline" / "sandbox"), package),
        *("--size", str(16 * 2**20), "--tmpfs", "/tmp", "--remount-ro", "/", "--chdir", "/tmp", "--"),
    ]


def _environment() -> dict[str, str]:
    """What the interpreter itself needs to start, and a fixed order of sets; the sealed process forgets it all."""
    libraries = os.environ.get("LD_LIBRARY_PATH")
    return {"PYTHONHASHSEED": "0", **({"LD_LIBRARY_PATH": libraries} if libraries else {})}


def _in_memory(content: bytes) -> IO[bytes]:
    """A file to read from; unlike with a pipe, who does not read cannot hold us up."""
    file = os.fdopen(os.memfd_create("job"), "w+b")
    file.write(content)
    file.seek(0)
    return file


def _forget() -> None:
    """A fork of this process has no template: the one it knows of is its parent's."""
    global _LOCK
    _LOCK = threading.Lock()
    _templates.clear()


@atexit.register
def stop() -> None:
    """End the template."""
    while _templates:
        _templates.pop().close()


os.register_at_fork(after_in_child=_forget)
