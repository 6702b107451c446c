"""Runs untrusted Python functions in a child process and brings back plain JSON.

The child (`child.py`) gives up everything before the code runs: files, network, environment, other processes. The
parent takes whatever it writes for hostile, and compares. What is expected never reaches the child.
"""

from __future__ import annotations

import json
import signal
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, cast

from pipeline.failures import UserError
from pipeline.records import FunctionTest
from pipeline.sandbox import launch, values
from pipeline.sandbox.isolation import UNSAFE, Mechanism
from pipeline.sandbox.launch import Ended

Status = Literal["completed", "compile-error", "load-error", "cpu-limit", "wall-limit", "crashed"]

TEXT_LENGTH = 300


@dataclass(frozen=True, slots=True)
class Limits:
    """CPU seconds decide; the wall clock only ends a child that sleeps.

    Files of a job lie in memory, so `disk_bytes` are part of `memory_bytes`.
    """

    cpu_seconds: int = 1
    wall_seconds: float = 10.0
    memory_bytes: int = 512 * 1024 * 1024
    disk_bytes: int = 16 * 1024 * 1024
    output_bytes: int = 256 * 1024


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one call gave: a JSON value as text, or the name of the exception class it raised.

    A value that JSON cannot hold counts as raised: `not-json`, with the value's type as message.
    """

    value: str | None = None
    raised: str = ""
    message: str = ""


@dataclass(frozen=True, slots=True)
class Execution:
    """How one program went. `outcomes` has one entry per call that finished, in order."""

    status: Status
    outcomes: tuple[Outcome, ...] = ()
    detail: str = ""


def execute(code: str, tests: Sequence[FunctionTest], limits: Limits = Limits()) -> Execution:
    """Load `code` and make the tests' calls in one sandboxed child; expected values are never sent there."""
    calls = [
        {"function": test.function, "arguments": test.arguments, "typed": values.wants_types(test)} for test in tests
    ]
    ended = launch.run({"code": code, "calls": calls, **asdict(limits)}, limits.wall_seconds, limits.output_bytes)
    entries = _parse(ended.output, len(tests))
    if not entries and ended.reason == "exit":
        raise UserError(
            "environment", f"the sandbox did not run the code (exit status {ended.code}).", hint=launch.HINT
        )
    if entries and "isolation" in entries[0]:
        what = f"code cannot be isolated here: {_text(entries[0]['isolation'])}."
        raise UserError("environment", what, hint=launch.HINT)
    return _execution(entries[1:], len(tests), ended)


def passed(execution: Execution, tests: Sequence[FunctionTest]) -> bool:
    """Whether every call gave what its test expects. The parent decides, from plain JSON."""
    if execution.status != "completed" or len(execution.outcomes) != len(tests):
        return False
    return all(meets(outcome, test) for outcome, test in zip(execution.outcomes, tests, strict=True))


def meets(outcome: Outcome, test: FunctionTest) -> bool:
    """Whether one call gave what its test expects."""
    if test.raises:
        return outcome.raised == test.raises
    return outcome.value is not None and values.met(outcome.value, test)


def same_outcome(left: Outcome, right: Outcome) -> bool:
    """Whether two calls gave the same: equal values, or the same kind of exception."""
    if left.value is None or right.value is None:
        return left.value is right.value and left.raised == right.raised
    return values.same_json(left.value, right.value)


def _parse(output: bytes, calls: int) -> list[dict[str, Any]]:
    """The child's lines up to the first that is none of ours; what follows "done" included, to be found too much."""
    entries: list[dict[str, Any]] = []
    for line in output.split(b"\n", calls + 3)[: calls + 3]:
        try:
            entry = json.loads(line.decode())
        except (ValueError, RecursionError):
            break
        if not isinstance(entry, dict):
            break
        entries.append(entry)
    return entries


def _execution(entries: list[dict[str, Any]], calls: int, ended: Ended) -> Execution:
    """The verdict on the lines after "ready"."""
    for key, status in (("compile", "compile-error"), ("load", "load-error")):
        if entries and key in entries[0] and ended.reason == "exit" and ended.code == 0:
            return Execution(cast(Status, status), (), _text(entries[0][key]))
    outcomes = _outcomes(entries[:calls])
    if ended.reason == "wall":
        return Execution("wall-limit", outcomes, "the wall-clock limit was reached")
    if ended.reason == "output":
        return Execution("crashed", outcomes, "the results are larger than the limit")
    if ended.code == launch.EXIT_CPU_LIMIT:
        return Execution("cpu-limit", outcomes, "the CPU limit was reached")
    if ended.code == 0 and len(outcomes) == calls and entries[calls:] == [{"done": True}]:
        return Execution("completed", outcomes)
    return Execution("crashed", outcomes, _how_ended(ended.code))


def _outcomes(entries: list[dict[str, Any]]) -> tuple[Outcome, ...]:
    """One outcome per well-formed entry, up to the first that is not."""
    outcomes = []
    for entry in entries:
        if entry.keys() == {"value"}:
            outcomes.append(Outcome(json.dumps(entry["value"])))
        elif entry.keys() == {"raised", "message"} and entry["raised"]:
            outcomes.append(Outcome(None, _text(entry["raised"]), _text(entry["message"])))
        else:
            break
    return tuple(outcomes)


def _how_ended(code: int) -> str:
    if code > 128:
        return f"the process was killed by {signal.Signals(code - 128).name}" if code - 128 in _SIGNALS else "killed"
    return "the process ended before its last call" if code else "the results are not what the child would write"


_SIGNALS = {int(number) for number in signal.Signals}


def _text(value: object) -> str:
    """A hostile value as short text that every file format takes."""
    text = value if isinstance(value, str) else type(value).__name__
    return text[:TEXT_LENGTH].encode("utf-8", "replace").decode()


PROBE = """
import os, socket

def reach():
    return socket.create_connection(("127.0.0.1", 1), 1)

def write():
    return open("/kintsugi-probe", "w")

def keep():
    return open("notes", "w").write("x")

def processes():
    return os.fork()

def look():
    return [sorted(os.environ), os.path.exists("/proc/self"), os.path.exists("/home"), os.getuid()]
"""
SEALED = ["PermissionError", "OSError", "1", "PermissionError", "[[], false, false, 65534]"]


def check_isolation() -> Mechanism:
    """How code is isolated here: a program that tries to get out is run.

    Raises an environment error where code cannot be isolated, and where the program gets out.
    """
    calls = [FunctionTest.of(name) for name in ("reach", "write", "keep", "processes", "look")]
    launch.used()
    execution = execute(PROBE, calls, Limits(cpu_seconds=5))
    [mechanism] = launch.used()
    found = [outcome.raised or outcome.value for outcome in execution.outcomes]
    if found != SEALED and mechanism != UNSAFE:
        raise UserError("environment", f"the sandbox does not hold: {execution.status}, {found}.", hint=launch.HINT)
    return mechanism
