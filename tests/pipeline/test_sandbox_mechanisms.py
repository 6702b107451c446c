"""Which mechanism holds code here, and what happens on a machine that allows none. The refusals are the kernel's."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from sandboxes import ROOT, VARIANTS, call, processes_called, sandbox, value_of

from pipeline.failures import UserError
from pipeline.sandbox import UNSAFE_EXEC, child, launch
from pipeline.sandbox.run import check_isolation, execute


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    """Each test chooses anew."""
    launch.stop()
    launch.used()
    yield
    launch.stop()


SUPPORT = ROOT / "tests" / "support"


def where_namespaces_are_denied(*command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run Python with these arguments on a machine that refuses namespaces."""
    inherited = {name: value for name, value in os.environ.items() if name != UNSAFE_EXEC}
    return subprocess.run(
        [sys.executable, str(SUPPORT / "denied.py"), sys.executable, *command],
        env={**inherited, "PYTHONPATH": f"{ROOT}:{SUPPORT}", **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_mechanism_holds_and_says_its_name(variant: str) -> None:
    if variant == "without the filter":
        with sandbox(variant), pytest.raises(UserError, match="the sandbox does not hold"):
            check_isolation()
        return
    with sandbox(variant):
        assert check_isolation() == VARIANTS[variant][0]


def test_own_namespaces_come_first() -> None:
    assert value_of("def f():\n    return 1") == 1
    assert launch.used() == ["namespaces"]
    assert launch.used() == []


def test_a_denied_machine_refuses_and_says_what_to_do() -> None:
    script = "from pipeline.sandbox.run import *\nexecute('def f(): return open(\"/tmp/x\")', [FunctionTest.of('f')])"
    done = where_namespaces_are_denied("-c", script)
    assert done.returncode == 1
    error = done.stderr.strip().rpartition("\n")[2]
    assert "UserError: code cannot be isolated here (namespaces: creating namespaces: Operation not permitted" in error
    assert ("bubblewrap: bwrap: " if shutil.which("bwrap") else "bubblewrap: bwrap is not installed") in error
    assert "--unsafe-exec" in error and "userns" in error


UNSAFE = """
import json, os, sys
from sandboxes import call, processes_called
from pipeline.sandbox import launch
from pipeline.sandbox.run import Limits, execute
def outcome(code, *arguments, **limits):
    execution = execute(code, [call(*arguments)], Limits(**limits))
    return [execution.status, *((o.value, o.raised) for o in execution.outcomes)]
print(json.dumps([outcome(code, **limits) for code, limits in json.loads(sys.argv[1])] + [launch.used()]))
"""


def unsafe_outcomes(*jobs: tuple[str, dict[str, float]]) -> list[list[object]]:
    """What each job gives on a machine that denies namespaces, with --unsafe-exec; last, what ran them."""
    done = where_namespaces_are_denied("-c", UNSAFE, json.dumps(jobs), **{UNSAFE_EXEC: "1", "KINTSUGI_SECRET": "x"})
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)  # type: ignore[no-any-return]


def test_unsafe_still_limits_what_it_can(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.mkdir()
    (victim / "kept").write_text("")
    own = f"""
import os
def f():
    os.symlink("{victim}", "link")
    open("notes", "w").write("x" * 100)
    return [dict(os.environ), os.getcwd(), sorted(os.listdir("."))]
"""
    first, *others = unsafe_outcomes(
        (own, {}),
        ("def f():\n    while True: pass", {}),
        ("import time\ndef f():\n    time.sleep(60)", {"wall_seconds": 0.5}),
        ("def f():\n    return len(b'x' * 10**10)", {}),
        ("def f():\n    with open('big', 'wb') as file:\n        file.write(b'x' * 10**8)", {}),
        ("import os\ndef f():\n    os.fork()", {}),
        ("import socket\ndef f():\n    socket.socket()", {}),
        ("import os\ndef f():\n    os.kill(os.getppid(), 9)", {}),
        ("import os\ndef f():\n    os.system('true') == 0 or print(1 / 0)", {}),
    )
    environment, folder, files = json.loads(first[1][0])  # type: ignore[index]
    assert (environment, files) == ({}, ["link", "notes"])
    assert not Path(folder).exists()
    assert (victim / "kept").exists()
    assert others == [
        ["cpu-limit"],
        ["wall-limit"],
        ["completed", [None, "MemoryError"]],
        ["completed", [None, "OSError"]],
        ["completed", [None, "PermissionError"]],
        ["completed", [None, "PermissionError"]],
        ["completed", [None, "PermissionError"]],
        ["completed", [None, "ZeroDivisionError"]],
        ["unsafe"],
    ]
    assert processes_called("kintsugi-unsafe") == []


def test_unsafe_is_not_taken_where_something_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(UNSAFE_EXEC, "1")
    assert check_isolation() == "namespaces"


def test_the_doctor_says_beforehand_what_will_happen(tmp_path: Path) -> None:
    command = ("-m", "kintsugi", "doctor", "--quick", "--json", "--store", str(tmp_path))
    refused = where_namespaces_are_denied(*command)
    assert refused.returncode == 3
    [finding] = [check for check in json.loads(refused.stdout)["checks"] if check["check"] == "sandbox"]
    assert finding["verdict"] == "fail" and "--unsafe-exec" in finding["advice"]
    allowed = where_namespaces_are_denied(*command, "--unsafe-exec")
    assert allowed.returncode == 0, allowed.stderr
    [finding] = [check for check in json.loads(allowed.stdout)["checks"] if check["check"] == "sandbox"]
    assert finding["verdict"] == "warn" and "cannot be isolated" in finding["found"]


def test_an_interpreter_that_does_not_start_is_an_environment_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(child, "START", "import no_such_module")
    with pytest.raises(UserError, match="namespaces: ModuleNotFoundError: No module named 'no_such_module'") as caught:
        execute("def f(): return 1", [call()])
    assert caught.value.kind == "environment"


def test_a_job_that_cannot_be_sealed_is_an_environment_error(monkeypatch: pytest.MonkeyPatch) -> None:
    refuse = "child.isolation.filter_system_calls = lambda **_: child.isolation.kernel.control('filtering', 99)"
    monkeypatch.setattr(child, "START", child.START.replace("child.main", f"{refuse}; child.main"))
    with pytest.raises(UserError, match="code cannot be isolated here: filtering: Invalid argument"):
        execute("def f(): return 1", [call()])
