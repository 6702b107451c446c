"""The sandbox, for real: what code gives, and how it ends. Hostile code is tried in the files beside this."""

from __future__ import annotations

import json
import multiprocessing
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest
from sandboxes import ROOT, call, lives, processes_called, value_of, wait_for

from pipeline.records import FunctionTest
from pipeline.sandbox import launch
from pipeline.sandbox.run import Execution, Limits, Outcome, execute, passed
from pipeline.sandbox.values import same_json


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


ORPHAN = """
import time, ctypes
def f():
    ctypes.CDLL(None).prctl(15, b"kintsugi-orphan", 0, 0, 0)
    time.sleep(60)
"""


def test_nothing_survives_the_parent() -> None:
    script = "from pipeline.sandbox.run import *\nimport sys\n"
    script += "execute(sys.argv[1], [FunctionTest.of('f')], Limits(wall_seconds=50))"
    parent = subprocess.Popen([sys.executable, "-c", script, ORPHAN], cwd=ROOT)
    [orphan] = wait_for(lambda: processes_called("kintsugi-orphan"))
    supervisor = psutil.Process(orphan).ppid()
    template = psutil.Process(supervisor).ppid()
    assert psutil.Process(template).ppid() == parent.pid
    parent.kill()
    parent.wait()
    for process in (orphan, supervisor, template):
        wait_for(lambda process=process: not lives(process))


def test_what_a_job_needs_for_files_is_there() -> None:
    code = """
import os, sqlite3, tempfile
from pathlib import Path
def f():
    Path("notes.txt").write_text("a")
    os.makedirs("deep/er")
    with tempfile.TemporaryDirectory() as folder, tempfile.NamedTemporaryFile("w+") as file:
        file.write("b")
        database = sqlite3.connect(folder + "/x.db")
        database.execute("create table t (x)")
    return [Path("/tmp/notes.txt").read_text(), os.getcwd(), sorted(os.listdir("."))]
"""
    assert value_of(code) == ["a", "/tmp", ["deep", "notes.txt"]]


def test_a_template_that_was_killed_is_replaced() -> None:
    assert value_of("def f():\n    return 1") == 1
    [template] = launch._templates
    template.process.kill()
    template.process.wait()
    assert value_of("def f():\n    return 2") == 2
    assert launch._templates != [template]


def test_many_threads_and_forks_run_code_at_the_same_time() -> None:
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(result_of, range(24))) == list(range(24))
    with multiprocessing.get_context("fork").Pool(3) as forks:
        assert forks.map(result_of, range(9)) == list(range(9))
    assert result_of(3) == 3


def result_of(number: int) -> object:
    return value_of(f"def f():\n    return {number}")


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
