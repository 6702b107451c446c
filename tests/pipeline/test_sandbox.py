"""The sandbox, for real: what good code gives, and what hostile code cannot do."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from pipeline.failures import UserError
from pipeline.records import FunctionTest
from pipeline.sandbox import run
from pipeline.sandbox.run import Execution, Limits, Outcome, check_isolation, execute, passed, same_json

DEFAULT = Limits()


def call(*arguments: object, expected: object = None, raises: str = "") -> FunctionTest:
    return FunctionTest.of("f", *arguments, expected=expected, raises=raises)


def value_of(code: str, *arguments: object, limits: Limits = DEFAULT) -> Any:
    execution = execute(code, [call(*arguments)], limits)
    assert execution.status == "completed", execution
    outcome = execution.outcomes[0]
    return json.loads(outcome.value) if outcome.value is not None else (outcome.raised, outcome.message)


def test_right_and_wrong_values_are_told_apart() -> None:
    tests = [call(2, 3, expected=5), call(0, 0, expected=0)]
    right = execute("def f(a, b):\n    return a + b\n", tests)
    assert right.outcomes == (Outcome("5"), Outcome("0"))
    assert passed(right, tests)
    assert not passed(execute("def f(a, b):\n    return a - b\n", tests), tests)


def test_exceptions_are_outcomes_and_can_be_expected() -> None:
    code = "def f(x):\n    if x < 0:\n        raise ValueError('negative')\n    return x\n"
    tests = [call(1, expected=1), call(-1, raises="ValueError")]
    execution = execute(code, tests)
    assert execution.outcomes[1] == Outcome(None, "ValueError", "negative")
    assert passed(execution, tests)
    assert not passed(execution, [tests[0], call(-1, raises="TypeError")])
    assert not passed(execution, [tests[0], call(-1, expected=None)])


def test_values_come_back_as_plain_json() -> None:
    assert value_of("def f():\n    return (1, [2.5, None], {'a': True}, 'é\\n\\U0001F600')") == [
        1, [2.5, None], {"a": True}, "é\n\U0001f600",
    ]  # fmt: skip
    assert value_of("def f():\n    return {1, 2}") == ("not-json", "set")
    assert value_of("def f():\n    x = []\n    x.append(x)\n    return x") == ("not-json", "list")
    assert value_of("def f():\n    return 10 ** 5000") == ("not-json", "int")


def test_nan_and_infinities_compare() -> None:
    tests = [call(expected=float("nan")), FunctionTest.of("g", expected=float("-inf"))]
    assert passed(execute("def f(): return float('nan')\ndef g(): return -float('inf')", tests), tests)
    assert not same_json("NaN", "1.0")


def test_json_values_compare_as_values() -> None:
    assert same_json("1", "1.0") and same_json("[0.30000000000000004]", "[0.3]")
    assert not same_json("1", "true") and not same_json("0", "false") and not same_json("null", "0")
    assert not same_json('{"a": 1}', '{"a": 1, "b": 2}') and not same_json("1.0", "1.001")
    assert not same_json("1" + "0" * 400, "1.0") and not same_json('"1"', "1")


def test_each_call_gets_its_own_arguments_and_state_stays_in_the_program() -> None:
    tests = [call([1, 2], expected=2), call([1, 2], expected=2)]
    assert passed(execute("def f(xs):\n    return xs.pop()\n", tests), tests)


def test_set_order_and_chance_are_the_same_in_every_run() -> None:
    code = "import random\ndef f():\n    return [list({'pear', 'plum', 'fig', 'date'}), random.random()]"
    assert value_of(code) == value_of(code)


def test_code_that_does_not_compile_or_load_is_named() -> None:
    assert execute("def f(:", [call()]).status == "compile-error"
    assert execute("x = '\0'", [call()]).status == "compile-error"
    loaded = execute("import no_such_module", [call()])
    assert (loaded.status, loaded.detail) == ("load-error", "ModuleNotFoundError: No module named 'no_such_module'")
    assert execute("import sys\nsys.exit()", [call()]).status == "load-error"
    assert value_of("g = 1") == ("AttributeError", "the code defines no 'f'")


def test_the_program_is_not_main_and_dataclasses_work() -> None:
    code = (
        "from dataclasses import dataclass\n@dataclass\nclass A:\n    x: int\ndef f():\n    return [A(1).x, __name__]"
    )
    assert value_of(code) == [1, "answer"]


def test_infinite_loops_reach_the_cpu_limit() -> None:
    looped = execute("def f(x):\n    while x:\n        pass\n    return 0", [call(0), call(1)])
    assert (looped.status, looped.outcomes) == ("cpu-limit", (Outcome("0"),))


def test_sleepers_reach_the_wall_limit() -> None:
    started = time.monotonic()
    slept = execute("import time\ndef f():\n    time.sleep(60)", [call()], Limits(wall_seconds=1.0))
    assert slept.status == "wall-limit"
    assert time.monotonic() - started < 5


def test_exits_and_crashes() -> None:
    assert value_of("import sys\ndef f():\n    sys.exit(0)") == ("SystemExit", "0")
    assert execute("import os\ndef f():\n    os._exit(0)", [call()]).status == "crashed"
    died = execute("import ctypes\ndef f():\n    ctypes.string_at(0)", [call()])
    assert (died.status, died.detail) == ("crashed", "the process was killed by SIGSEGV")


def test_output_floods_are_bounded() -> None:
    printed = "def f():\n    for _ in range(20000):\n        print('x' * 100)\n    return 1"
    assert value_of(printed) == 1
    assert execute("def f():\n    return 'x' * 10**7", [call()]).status == "crashed"
    flood = "import os\ndef f():\n    while True:\n        os.write(3, b'x' * 65536)"
    assert execute(flood, [call()]).status == "crashed"


def test_memory_bombs_end_as_memory_errors() -> None:
    limits = Limits(cpu_seconds=5, memory_bytes=128 * 2**20)
    growing = "def f():\n    xs = []\n    while True:\n        xs.append(bytearray(10**7))"
    assert value_of("def f():\n    return len(bytearray(10**10))")[0] == "MemoryError"
    assert value_of(growing, limits=limits)[0] == "MemoryError"


def test_there_is_no_network() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.2)
        code = (
            f"import socket\ndef f():\n    return socket.create_connection(('127.0.0.1', {server.getsockname()[1]}), 1)"
        )
        assert value_of(code)[0] == "PermissionError"
        with pytest.raises(TimeoutError):
            server.accept()


def test_the_network_namespace_holds_without_the_filter() -> None:
    script = (
        "import socket\nfrom pipeline.sandbox import isolation\nisolation.enter_namespaces()\n"
        "try:\n    socket.create_connection(('127.0.0.1', {port}), 1)\nexcept OSError as error:\n    print(error.errno)"
    )
    with socket.create_server(("127.0.0.1", 0)) as server:
        command = [sys.executable, "-c", script.replace("{port}", str(server.getsockname()[1]))]
        done = subprocess.run(command, capture_output=True, text=True, cwd=run.ROOT)
    assert done.stdout.strip() == "101", done  # ENETUNREACH


def test_the_environment_is_empty_and_the_parents_cannot_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KINTSUGI_SECRET", "hunter2")
    code = f"""
import os, ctypes
def f():
    seen = [dict(os.environ), os.getppid(), os.path.exists("/proc/{os.getpid()}"), os.listdir("/")]
    ctypes.CDLL(None).getenv.restype = ctypes.c_char_p
    for path in ("/proc/{os.getpid()}/environ", "/proc/{os.getppid()}/environ", "/proc/self/environ"):
        try:
            seen.append(open(path).read())
        except OSError as error:
            seen.append(type(error).__name__)
    return seen
"""
    environment, parent, process, listing, *files = value_of(code)
    assert (environment, parent, process, files) == ({}, 0, False, ["FileNotFoundError"] * 3)
    assert not {"home", "tmp", "run", "proc", "work"} & set(listing)


def test_the_users_files_are_not_there() -> None:
    code = "import os\ndef f(path):\n    return os.path.exists(path)"
    for path in (__file__, str(Path.home() / ".bashrc"), "/etc/passwd", "/etc/shadow", "/sys", "/dev/shm"):
        assert value_of(code, path) is False


def test_nothing_can_be_written() -> None:
    code = """
import os
def attempt(action, *arguments):
    try:
        action(*arguments)
    except OSError:
        return True
    return False
def f():
    library = os.path.dirname(os.__file__)
    return [
        attempt(open, "/tmp/x", "w"), attempt(open, "/x", "w"), attempt(os.mkdir, "/x"), attempt(os.mkdir, "/usr/x"),
        attempt(open, library + "/x.py", "w"), attempt(os.unlink, os.__file__), attempt(os.chmod, "/", 0o777),
        attempt(os.link, os.__file__, "/y"), attempt(os.symlink, "/a", "/b"), attempt(os.mknod, "/n"),
    ]
"""
    assert value_of(code) == [True] * 10


def test_privileges_are_gone() -> None:
    code = """
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
def f():
    tries = [
        libc.unshare(0x10000000), libc.mount(b"none", b"/usr", b"tmpfs", 0, None), libc.chroot(b"/usr"),
        libc.setuid(0), libc.ptrace(0, 0, 0, 0), libc.umount2(b"/usr", 2), libc.syscall(442, -100, b"/", 0, None, 0),
    ]
    return [tries, os.getresuid(), os.getgroups()]
"""
    tries, users, groups = value_of(code)
    assert (tries, users) == ([-1] * 7, [65534] * 3)
    assert groups in ([], [65534])


def test_fork_bombs_and_daemons_do_nothing() -> None:
    bomb = "import os\ndef f():\n    while True:\n        os.fork()"
    assert value_of(bomb) == ("PermissionError", "[Errno 1] Operation not permitted")
    shell = "import subprocess\ndef f():\n    return subprocess.run(['/usr/bin/true']).returncode"
    assert value_of(shell)[0] == "PermissionError"
    threads = (
        "import threading\ndef f():\n    t = threading.Thread(target=print)\n    t.start()\n    t.join()\n    return 1"
    )
    assert value_of(threads) == 1


def test_nothing_survives_the_program(tmp_path: Path) -> None:
    code = "import threading, time\nthreading.Thread(target=time.sleep, args=(30,)).start()\ndef f():\n    return 1"
    started = time.monotonic()
    assert value_of(code) == 1
    assert time.monotonic() - started < 5


def test_nothing_survives_the_parent() -> None:
    code = "import time\\ndef f():\\n    time.sleep(33.25)"
    script = f"from pipeline.sandbox.run import *\nexecute('{code}', [FunctionTest.of('f')], Limits(wall_seconds=30))"
    parent = subprocess.Popen([sys.executable, "-c", script], cwd=run.ROOT)
    children = Path(f"/proc/{parent.pid}/task/{parent.pid}/children")
    supervisor = _wait_for(lambda: children.read_text().split())[0]
    isolated = _wait_for(lambda: Path(f"/proc/{supervisor}/task/{supervisor}/children").read_text().split())[0]
    time.sleep(0.3)
    parent.kill()
    parent.wait()
    _wait_for(lambda: not Path(f"/proc/{supervisor}").exists() and not Path(f"/proc/{isolated}").exists())


def _wait_for(condition):  # type: ignore[no-untyped-def]
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        if found := condition():
            return found
        time.sleep(0.01)
    raise AssertionError("did not come about in 10 s")


def test_tricks_do_not_pass() -> None:
    tests = [call(1, expected=2)]
    for trick in (
        "class Same(int):\n    def __eq__(self, other): return True\ndef f(x):\n    return Same(5)",
        "class Same:\n    def __eq__(self, other): return True\ndef f(x):\n    return Same()",
        "import json\njson.dumps = lambda *a, **k: '2'\ndef f(x):\n    return 3",
        "import _json\n_json.make_encoder = None\ndef f(x):\n    return 2",
        "import sys\nsys.modules.clear()\ndef f(x):\n    return 3",
        "import builtins\nbuiltins.all = lambda *a: True\ndef f(x):\n    return 3",
        "import os\nos._exit(0)",
    ):
        assert not passed(execute(trick, tests), tests), trick


FORGE = "import os\nos.write(3, {lines!r})\nos._exit(0)\n"


@pytest.mark.parametrize(
    "lines",
    [
        b"not json\n",
        b"\xff\xfe\n",
        b"[" * 50_000 + b"\n",
        b'{"value": ' + b"[" * 900 + b"]" * 900 + b'}\n{"done": true}\n',
        b'{"value": ' + b"1" * 10_000 + b'}\n{"done": true}\n',
        b'{"value": 1, "passed": true}\n{"done": true}\n',
        b'{"raised": 1, "message": []}\n{"done": true}\n',
        b'{"raised": "\\ud800", "message": "\\ud800"}\n{"done": true}\n',
        b'{"value": "\\ud800"}\n{"done": true}\n',
        b'{"value": 1}\n' * 2000,
        b'{"value": 1}\n{"done": true}\n{"done": true}\n',
        b'{"isolation": "no"}\n',
        b'{"compile": [1]}\n',
        b"null\n",
        b"\n" * 5000,
        b"",
    ],
)
def test_the_parent_survives_hostile_output(lines: bytes) -> None:
    execution = execute(FORGE.format(lines=lines), [call(expected=2)])
    assert not passed(execution, [call(expected=2)])
    json.dumps([execution.detail, *(o.message for o in execution.outcomes)], ensure_ascii=False).encode()


def test_forged_results_are_results_all_the_same() -> None:
    """Code may claim a value of its own making, as any function may; it cannot know what is expected."""
    forged = execute(FORGE.format(lines=b'{"value": 2}\n{"done": true}\n'), [call(expected=3)])
    assert forged == Execution("completed", (Outcome("2"),))
    assert not passed(forged, [call(expected=3)])


def test_a_user_namespace_isolates_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    """What happens where we are not root."""
    swap = "child.isolation.enter_namespaces = child.isolation.enter_user_namespace; child.main"
    monkeypatch.setattr(run.child, "START", run.child.START.replace("child.main", swap))
    test_nothing_can_be_written()
    test_privileges_are_gone()
    assert check_isolation().startswith("isolated")


def test_an_isolation_failure_is_an_environment_error(monkeypatch: pytest.MonkeyPatch) -> None:
    spoiled = run.child.START.replace("child.main", "child.isolation.NAMESPACES = 1; child.main")
    monkeypatch.setattr(run.child, "START", spoiled)
    with pytest.raises(UserError) as caught:
        execute("def f(): return 1", [call()])
    assert caught.value.kind == "environment"
    assert "cannot be isolated" in str(caught.value) and "userns" in str(caught.value)


def test_an_interpreter_that_does_not_start_is_an_environment_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run.child, "START", "import no_such_module")
    with pytest.raises(UserError, match="did not start"):
        execute("def f(): return 1", [call()])


def test_the_doctor_hears_how_code_is_isolated() -> None:
    assert check_isolation().startswith("isolated")
