"""The sandboxed side: a template process that forks one sealed process for each job, and what that process does.

`START` runs the template in a fresh interpreter. It takes away from itself what it can before the first job, and then
does nothing but fork: it never reads a job, so strangers' code meets nothing of another job. For each job there are two
processes more. The supervisor waits and says how the other ended; the other, first in a process id namespace of its
own, runs the code. When it ends, all that it started ends.

Request (a packet on stdin, a socket): three open files: the job, where results go, and a socket to the supervisor.
Job:        {"code", "calls": [{"function", "arguments", "typed"}], "directory", and the limits}
Results:    one JSON value a line: {"isolation": why} alone where nothing was run; else {"ready": true},
            {"compile": why} or {"load": why} or, for each call, {"value"} or {"raised", "message"}; then {"done": true}
Supervisor: the exit status as digits, once; when its socket is closed from the other side, it ends the job.

Whatever runs in the sealed process the code may change or forge. It gains nothing: what is expected was never sent.
"""

from __future__ import annotations

import gc
import importlib
import os
import select
import signal
import socket
import sys
import types
from collections.abc import Callable
from contextlib import suppress
from json import dumps, loads
from typing import Any

from pipeline.sandbox import isolation
from pipeline.sandbox.typed import tagged

Report = Callable[[dict[str, Any]], None]

START = "import sys; sys.path.insert(0, sys.argv[1]); from pipeline.sandbox import child; child.main(sys.argv[2])"
"""For `python -c`, which unlike a script uses the compiled module. Arguments: our root, and the mechanism."""

EXIT_CRASHED, EXIT_CPU_LIMIT = 100, 101
MESSAGE_LENGTH = 300
RESULTS = 3
"""The one open file of the sealed process beside the standard ones, which lead nowhere."""

COMMON = (
    "bisect", "collections", "copy", "dataclasses", "datetime", "decimal", "fractions", "functools", "heapq",
    "itertools", "math", "operator", "random", "re", "statistics", "string", "time", "typing",
)  # fmt: skip
"""What answers import most: loaded once in the template, so that it costs a job nothing."""


def main(mechanism: str) -> None:
    sys.path.pop(0)  # answers import the standard library alone
    requests = socket.socket(fileno=os.dup(0))
    try:
        isolation.enter(mechanism)
    except (isolation.IsolationError, OSError) as error:
        requests.send(str(error).encode())
        os._exit(EXIT_CRASHED)
    _silence()
    for name in COMMON:
        importlib.import_module(name)
    for name in [name for name in sys.modules if name.partition(".")[0] == "pipeline"]:
        del sys.modules[name]
    gc.freeze()  # forks would copy what the collector touches
    requests.send(b"ready")
    _fork_for_each(requests, mechanism)
    os._exit(0)


def _silence() -> None:
    """What the code prints goes nowhere, and there is nothing to read."""
    nothing = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(nothing, standard)
    os.close(nothing)


def _fork_for_each(requests: socket.socket, mechanism: str) -> None:
    """One supervisor for each request, until the other side is closed."""
    while True:
        _, files, _, _ = socket.recv_fds(requests, 16, 3)
        if len(files) != 3:
            return
        if os.fork() == 0:
            requests.close()
            job, results, control = files
            _supervise(mechanism, job, results, socket.socket(fileno=control))
        for file in files:
            os.close(file)
        _bury_the_dead()


def _bury_the_dead() -> None:
    with suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def _supervise(mechanism: str, source: int, results: int, control: socket.socket) -> None:
    """Run the job in a process of its own and say how it ended. Does not return."""
    report = _reporter(results)
    try:
        with open(source, encoding="utf-8") as file:
            job = loads(file.read())
        isolation.enter_job(mechanism)
    except (isolation.IsolationError, OSError) as error:
        report({"isolation": str(error)})
        os._exit(EXIT_CRASHED)
    ended, held = _ended_pipe(), os.pipe()
    process = os.fork()
    if process == 0:
        control.close()
        os.close(held[1])
        _run_isolated(mechanism, job, results, held[0])
    os.close(results)
    waiting, _, _ = select.select([ended, control.fileno()], [], [])
    if control.fileno() in waiting:  # its time is up, or nobody waits any more
        os.kill(process, signal.SIGKILL)
    _, status, usage = os.wait4(process, 0)
    isolation.end_group(mechanism, process)
    code = _exit_code(status, usage.ru_utime + usage.ru_stime, job["cpu_seconds"])
    control.send(str(code).encode())
    os._exit(0)


def _ended_pipe() -> int:
    """Becomes readable when a child ends. (A file for a process itself, pidfd, would need Linux 5.3.)"""
    ended, tell = os.pipe()
    os.set_blocking(tell, False)
    signal.set_wakeup_fd(tell, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    return ended


def _exit_code(status: int, spent: float, cpu_seconds: float) -> int:
    if os.WIFSIGNALED(status):
        killed = os.WTERMSIG(status) == signal.SIGKILL
        # The limit counts in clock ticks, which on a busy machine run ahead of the time that was really had.
        return EXIT_CPU_LIMIT if killed and spent > 0.5 * cpu_seconds else 128 + os.WTERMSIG(status)
    return EXIT_CRASHED if os.WEXITSTATUS(status) else 0


def _run_isolated(mechanism: str, job: dict[str, Any], results: int, alive: int) -> None:
    try:
        isolation.seal(mechanism, job)
    except (isolation.IsolationError, OSError) as error:
        _reporter(results)({"isolation": str(error)})
        os._exit(EXIT_CRASHED)
    supervisor_ended, _, _ = select.select([alive], [], [], 0)
    if supervisor_ended:  # before we asked to end with it
        os._exit(EXIT_CRASHED)
    os.dup2(results, RESULTS)
    os.closerange(RESULTS + 1, isolation.OPEN_FILES)
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.environ.clear()
    report = _reporter(RESULTS)
    report({"ready": True})
    _run(job["code"], job["calls"], report)
    report({"done": True})
    os._exit(0)


def _reporter(channel: int) -> Report:
    write, encode = os.write, dumps

    def report(entry: dict[str, Any]) -> None:
        line = encode(entry).encode() + b"\n"
        while line:
            line = line[write(channel, line) :]

    return report


def _run(code: str, calls: list[dict[str, Any]], report: Report) -> None:
    module = types.ModuleType("answer")
    sys.modules["answer"] = module
    try:
        program = compile(code, "answer.py", "exec", dont_inherit=True)
    except BaseException as error:
        report({"compile": _described(error)})
        return
    try:
        exec(program, module.__dict__)
    except BaseException as error:
        report({"load": _described(error)})
        return
    for call in calls:
        report(_outcome(module.__dict__, call["function"], call["arguments"], call["typed"]))


def _outcome(names: dict[str, Any], function: str, arguments: str, typed: bool) -> dict[str, Any]:
    """What one call gives; its arguments are parsed anew, so that no call sees another's changes."""
    is_name = function.isidentifier()
    if is_name and function not in names:
        return {"raised": "AttributeError", "message": f"the code defines no {function!r}"}
    try:
        _fix_chance()
        value = (names[function] if is_name else eval(function, names))(*loads(arguments))
    except BaseException as error:
        return {"raised": _name(error), "message": _message(error)}
    try:
        given = tagged(value) if typed else value
        dumps(given)
    except BaseException:
        return {"raised": "not-json", "message": type(value).__name__}
    return {"value": given}


def _fix_chance() -> None:
    """Code that draws at random draws the same in every run."""
    chance = sys.modules.get("random")
    if chance is not None:
        chance.seed(0)


def _name(error: BaseException) -> str:
    return str(type(error).__name__)[:MESSAGE_LENGTH]


def _message(error: BaseException) -> str:
    try:
        return str(error)[:MESSAGE_LENGTH]
    except BaseException:
        return ""


def _described(error: BaseException) -> str:
    return f"{_name(error)}: {_message(error)}"
