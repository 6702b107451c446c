"""Hostile code that wants the net, or all there is of something: processes, memory, files, time to live."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from sandboxes import NAMED, ROOT, call, processes_called, run_bare, sandbox, value_of, wait_for

from pipeline.sandbox.run import Limits, execute

# The network

CONNECT = """
import socket
def f(address):
    family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET6 if ":" in address[0] else socket.AF_INET
    kind = socket.SOCK_STREAM
    talk = socket.socket(family, kind)
    talk.settimeout(2)
    talk.connect("\\0" + address[1:] if isinstance(address, str) and address[0] == "@" else
                 address if isinstance(address, str) else tuple(address))
    talk.sendall(b"out")
"""


def _listeners(folder: Path) -> Iterator[tuple[object, socket.socket]]:
    loopback = socket.create_server(("127.0.0.1", 0))
    yield ["127.0.0.1", loopback.getsockname()[1]], loopback
    everywhere = socket.create_server(("0.0.0.0", 0))
    yield [_own_address(), everywhere.getsockname()[1]], everywhere
    abstract, path = (socket.socket(socket.AF_UNIX) for _ in range(2))
    abstract.bind(f"\0kintsugi-{os.getpid()}")
    path.bind(str(folder / "s"))
    for listener, address in ((abstract, f"@kintsugi-{os.getpid()}"), (path, str(folder / "s"))):
        listener.listen()
        yield address, listener


def _own_address() -> str:
    """This machine as the net knows it; loopback where it has no other address."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # sends nothing
        except OSError:
            return "127.0.0.1"
        return str(probe.getsockname()[0])


def test_no_socket_reaches_anyone(variant: str, tmp_path: Path) -> None:
    for address, listener in _listeners(tmp_path):
        with listener:
            listener.settimeout(5)
            run_bare(f"{CONNECT}\nplain = f\ndef f():\n    return plain({address!r})")
            assert listener.accept()[0].recv(10) == b"out"
            listener.settimeout(0.1)
            assert isinstance(value_of(CONNECT, address), tuple), address
            with pytest.raises(TimeoutError):
                listener.accept()


def test_the_filter_and_the_namespace_each_deny_the_network() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = ["127.0.0.1", listener.getsockname()[1]]
        with sandbox("namespaces"):
            assert value_of(CONNECT, address)[0] == "PermissionError"
        with sandbox("without the filter"):
            assert value_of(CONNECT, address) == ("OSError", "[Errno 101] Network is unreachable")


# Taking everything


def test_a_fork_bomb_does_not_go_off() -> None:
    bomb = NAMED + "import os\ndef f():\n    name('kintsugi-bomb')\n    while True:\n        os.fork()"
    with sandbox("namespaces"):
        assert value_of(bomb) == ("PermissionError", "[Errno 1] Operation not permitted")
    assert processes_called("kintsugi-bomb") == []


def test_without_the_filter_a_fork_bomb_is_bounded_and_gone() -> None:
    bomb = (
        NAMED
        + """
import os, time
def f():
    name("kintsugi-bomb")
    for _ in range(40):
        if os.fork() == 0:
            time.sleep(60)
    time.sleep(60)
"""
    )
    with sandbox("without the filter"):
        running = threading.Thread(target=execute, args=(bomb, [call()], Limits(wall_seconds=2)))
        running.start()
        wait_for(lambda: len(processes_called("kintsugi-bomb")) == 41)
        running.join()
        assert processes_called("kintsugi-bomb") == []


DAEMON = (
    NAMED
    + """
import os, signal, time
def f():
    ready, tell = os.pipe()
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            for number in range(1, 32):
                if number not in (9, 19):
                    signal.signal(number, signal.SIG_IGN)
            name("kintsugi-demon")
            os.write(tell, b"x")
            os.closerange(0, 64)
            time.sleep(60)
        os._exit(0)
    return os.read(ready, 1).decode()
"""
)


@pytest.mark.parametrize("strongest", ["namespaces", "bubblewrap", "without the filter"])
def test_a_daemon_is_gone_when_the_job_is(strongest: str) -> None:
    run_bare(DAEMON)
    [demon] = processes_called("kintsugi-demon")
    os.kill(demon, signal.SIGKILL)
    wait_for(lambda: not processes_called("kintsugi-demon"))
    with sandbox(strongest):
        value = value_of(DAEMON)
        assert value == (
            "x" if strongest == "without the filter" else ("PermissionError", "[Errno 1] Operation not permitted")
        )
        assert processes_called("kintsugi-demon") == []


def test_ignored_signals_do_not_keep_it_alive(variant: str) -> None:
    code = (
        NAMED
        + """
import os, signal, time
def f():
    name("kintsugi-mule")
    for number in range(1, 32):
        if number not in (9, 19):
            signal.signal(number, signal.SIG_IGN)
    os.close(3)
    while True:
        time.sleep(60)
"""
    )
    started = time.monotonic()
    assert execute(code, [call()], Limits(wall_seconds=0.7)).status == "wall-limit"
    assert time.monotonic() - started < 15
    assert processes_called("kintsugi-mule") == []


GREEDY = {
    "at once": "def f():\n    return len(b'x' * 10**10)",
    "bit by bit": "def f():\n    held = []\n    while True:\n        held.append(b'x' * 10**7)",
    "a map": """
import mmap
def f():
    held = []
    while True:
        held.append(mmap.mmap(-1, 10**7))
        held[-1].write(b"x" * 10**7)
""",
    "files": """
def f():
    held = [open(str(number), "wb") for number in range(20)]
    while True:
        for file in held:
            file.write(b"x" * 10**6)
            file.flush()
""",
}
MEASURED = """
import resource, sys
from pipeline.records import FunctionTest
from pipeline.sandbox import launch
from pipeline.sandbox.run import Limits, execute
for code in sys.argv[1:]:
    print(execute(code, [FunctionTest.of("f")], Limits(cpu_seconds=5)).outcomes)
launch.stop()
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024)
"""


def test_ten_gigabytes_of_memory_are_not_had() -> None:
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'tests' / 'support'}"}
    command = [sys.executable, "-c", MEASURED, *GREEDY.values()]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    *outcomes, megabytes = done.stdout.splitlines()
    assert len(outcomes) == len(GREEDY), done
    assert all("MemoryError" in outcome or "OSError" in outcome for outcome in outcomes), outcomes
    assert 100 < int(megabytes) <= 512


def test_a_file_of_ten_gigabytes_is_not_written(variant: str) -> None:
    code = """
import os
def f(sparse):
    file, written = open("big", "wb", buffering=0), 0
    try:
        if sparse:
            file.truncate(10**10)
        while written < 10**10:
            written += file.write(b"x" * 10**6)
    except OSError as error:
        pass
    return [written, os.stat("big").st_size]
"""
    free = shutil.disk_usage("/").free
    for sparse in (False, True):
        written, size = value_of(code, sparse, limits=Limits(cpu_seconds=5))
        assert written > 10**7 or sparse
        assert max(written, size) <= 16 * 2**20
    assert free - shutil.disk_usage("/").free < 10**9


def test_many_files_are_not_made() -> None:
    code = "def f():\n    for number in range(10**5):\n        open(str(number), 'w').close()"
    with sandbox("namespaces"):
        assert value_of(code, limits=Limits(cpu_seconds=5)) == ("OSError", "[Errno 28] No space left on device: '1023'")


@pytest.mark.parametrize(("channels", "status"), [((1, 2), "cpu-limit"), ((3,), "crashed")])
def test_endless_output_is_bounded(channels: tuple[int, ...], status: str) -> None:
    flood = (
        f"import os\ndef f():\n    while True:\n        for to in {channels}:\n            os.write(to, b'x' * 65536)"
    )
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with sandbox("namespaces"):
        execution = execute(flood, [call()])
    assert execution.status == status
    assert len(execution.detail) < 1000
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000
