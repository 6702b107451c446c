"""The sandboxed side: reads one job, isolates itself, loads the code, makes the calls, writes what came of each.

`START` runs it in a fresh interpreter. Two processes: this one waits and reports how the other ended; the other, first
in a process id namespace of its own, runs the code. When it ends, all that it started ends.

Job (stdin):     {"code", "calls": [{"function", "arguments"}], "cpu_seconds", "memory_bytes"}
Report (stdout): one JSON value a line: {"isolation": why} alone where nothing was run; else {"ready": true},
                 {"compile": why} or {"load": why} or, for each call, {"value"} or {"raised", "message"}; then
                 {"done": true}

Whatever stands here the code may change or forge once it runs. It gains nothing: what is expected was never sent.
"""

from __future__ import annotations

import _json
import os
import select
import sys
import types

from pipeline.sandbox import isolation

TYPE_CHECKING = False
if TYPE_CHECKING:  # importing `typing` costs as much as the rest of the start
    from collections.abc import Callable
    from typing import Any

    Report = Callable[[dict[str, Any]], None]

START = "import sys; sys.path.insert(0, sys.argv[1]); from pipeline.sandbox import child; child.main(int(sys.argv[2]))"
"""For `python -c`, which unlike a script uses the compiled module. Arguments: our root, and the parent's process id."""

EXIT_CRASHED, EXIT_CPU_LIMIT = 100, 101
MESSAGE_LENGTH = 300


def main(parent: int) -> None:
    sys.path.pop(0)  # answers import the standard library alone
    job = read_json(sys.stdin.buffer.read().decode())
    channel = os.dup(1)
    _silence()
    report = _reporter(channel)
    try:
        isolation.platform_name()
        isolation.enter_namespaces()
        isolation.die_with_parent()
        if os.getppid() != parent:
            os._exit(EXIT_CRASHED)
        os._exit(_supervise(job, report))
    except (isolation.IsolationError, OSError) as error:
        report({"isolation": str(error)})
        os._exit(EXIT_CRASHED)


def _silence() -> None:
    """What the code prints goes nowhere, and there is nothing to read."""
    nothing = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(nothing, standard)
    os.close(nothing)


def refuse(value: object) -> None:
    raise TypeError(f"{type(value).__name__} is not JSON")


def read_json(text: str) -> Any:
    """`json.loads` for text that the parent has made; `json` itself imports `re`, a third of a child's start."""
    constants = {"NaN": float("nan"), "Infinity": float("inf"), "-Infinity": float("-inf")}
    context: Any = types.SimpleNamespace(
        strict=True,
        object_hook=None,
        object_pairs_hook=None,
        parse_float=float,
        parse_int=int,
        parse_constant=constants.__getitem__,
    )
    return _json.make_scanner(context)(text.strip(), 0)[0]


def write_json(value: object) -> str:
    """`json.dumps`."""
    quote = _json.encode_basestring_ascii
    return "".join(_json.make_encoder({}, refuse, quote, None, ": ", ", ", False, False, True)(value, 0))


def _reporter(channel: int) -> Report:
    write, encode = os.write, write_json

    def report(entry: dict[str, Any]) -> None:
        line = encode(entry).encode() + b"\n"
        while line:
            line = line[write(channel, line) :]

    return report


def _supervise(job: dict[str, Any], report: Report) -> int:
    """Run the job in a process of its own and say how it ended."""
    alive, held = os.pipe()
    process = os.fork()
    if process == 0:
        os.close(held)
        _run_isolated(job, report, alive)
    os.close(alive)
    _, status, usage = os.wait4(process, 0)
    if os.WIFSIGNALED(status):
        spent = usage.ru_utime + usage.ru_stime
        killed = os.WTERMSIG(status) == isolation.SIGKILL
        # The limit counts in clock ticks, which on a busy machine run ahead of the time that was really had.
        return EXIT_CPU_LIMIT if killed and spent > 0.5 * job["cpu_seconds"] else 128 + os.WTERMSIG(status)
    return EXIT_CRASHED if os.WEXITSTATUS(status) else 0


def _run_isolated(job: dict[str, Any], report: Report, alive: int) -> None:
    try:
        isolation.build_root()
        isolation.drop_privileges(job["cpu_seconds"], job["memory_bytes"])
        isolation.die_with_parent()  # after the change of user, which forgets the request
    except (isolation.IsolationError, OSError) as error:
        report({"isolation": str(error)})
        os._exit(EXIT_CRASHED)
    ended, _, _ = select.select([alive], [], [], 0)
    if ended:  # the supervisor was killed before we asked for the signal
        os._exit(EXIT_CRASHED)
    os.close(alive)
    os.environ.clear()
    for name in [name for name in sys.modules if name.partition(".")[0] == "pipeline"]:
        del sys.modules[name]
    report({"ready": True})
    _run(job["code"], job["calls"], report)
    report({"done": True})
    os._exit(0)


def _run(code: str, calls: list[dict[str, str]], report: Report) -> None:
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
        report(_outcome(module.__dict__, call["function"], call["arguments"]))


def _outcome(names: dict[str, Any], function: str, arguments: str) -> dict[str, Any]:
    """What one call gives; its arguments are parsed anew, so that no call sees another's changes."""
    if function not in names:
        return {"raised": "AttributeError", "message": f"the code defines no {function!r}"}
    try:
        _fix_chance()
        value = names[function](*read_json(arguments))
    except BaseException as error:
        return {"raised": _name(error), "message": _message(error)}
    try:
        write_json(value)
    except BaseException:
        return {"raised": "not-json", "message": type(value).__name__}
    return {"value": value}


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
