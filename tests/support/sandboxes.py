"""The sandbox in its variants, and what goes on outside while code runs in it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import psutil
import pytest

from pipeline.records import FunctionTest
from pipeline.sandbox import child, launch
from pipeline.sandbox.isolation import BUBBLEWRAP, NAMESPACES, Mechanism
from pipeline.sandbox.run import Limits, execute

Found = TypeVar("Found")
ROOT = Path(__file__).parents[2]
START = child.START

NO_FILTER = "child.isolation.filter_system_calls = lambda **_: None"
USER_FIRST = """
def user_first():
    process = child.os.open("/proc/self", child.os.O_PATH)
    child.isolation._enter_user_namespace(process)
    child.isolation._build_root()
child.isolation._enter_namespaces = user_first
"""
VARIANTS: dict[str, tuple[Mechanism, str]] = {
    "namespaces": (NAMESPACES, ""),
    "as a user": (NAMESPACES, USER_FIRST),
    "without the filter": (NAMESPACES, NO_FILTER),
    "bubblewrap": (BUBBLEWRAP, ""),
}
"""Mechanism, and what is changed in the sandboxed side. Layers are tried one by one: the namespaces must hold alone."""

NAMED = "import ctypes\ndef name(text):\n    ctypes.CDLL(None).prctl(15, text.encode(), 0, 0, 0)\n"
"""For programs that call `name`: a process that `processes_called` finds."""


@contextmanager
def sandbox(variant: str) -> Iterator[None]:
    """Only this variant, in template processes of its own."""
    mechanism, change = VARIANTS[variant]
    if mechanism == BUBBLEWRAP and shutil.which("bwrap") is None:
        pytest.skip("bubblewrap is not installed")
    start = START.replace("child.main", f"exec({change!r}); child.main") if change else START
    with pytest.MonkeyPatch.context() as patch, launch.only(mechanism):
        patch.setattr(child, "START", start)
        yield


def call(*arguments: object, expected: object = None, raises: str = "") -> FunctionTest:
    return FunctionTest.of("f", *arguments, expected=expected, raises=raises)


def value_of(code: str, *arguments: object, limits: Limits | None = None) -> Any:
    """What one call gives: a value, or the exception's name and message."""
    execution = execute(code, [call(*arguments)], limits or Limits())
    assert execution.status == "completed", execution
    outcome = execution.outcomes[0]
    return json.loads(outcome.value) if outcome.value is not None else (outcome.raised, outcome.message)


def run_bare(code: str) -> str:
    """What the code prints in an ordinary interpreter: the harm it does where nothing holds it."""
    done = subprocess.run([sys.executable, "-c", f"{code}\nprint(f())"], capture_output=True, text=True, timeout=60)
    return done.stdout + done.stderr


def processes_called(name: str) -> list[int]:
    """The living processes of the whole machine, those in namespaces below ours included, with this name."""
    seen = psutil.process_iter(["name", "status"])
    return [one.pid for one in seen if one.info["name"] == name and one.info["status"] != psutil.STATUS_ZOMBIE]


def lives(process: int) -> bool:
    """Not so one that is dead and whose parent has not asked how it ended: pid 1 may take seconds."""
    try:
        return bool(psutil.Process(process).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def wait_for(condition: Callable[[], Found]) -> Found:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        if found := condition():
            return found
        time.sleep(0.01)
    raise AssertionError("did not come about in 20 s")
