"""A real Ray head in token mode, in processes of its own, and worker nodes for it."""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import requests

RAY = Path(sys.executable).with_name("ray")
MEMORY = ["--object-store-memory", str(256 * 2**20)]
START_SECONDS = 90


@dataclass(frozen=True)
class Head:
    """A running head: where it takes jobs and nodes, its token, and its temporary directory."""

    address: str
    gcs: str
    directory: Path
    token: str = field(repr=False)

    @property
    def environment(self) -> dict[str, str]:
        """What a client on this machine needs."""
        return {**clean_environment(), "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": self.token}

    def uploaded(self) -> list[Path]:
        """The folders of jobs as Ray unpacked them."""
        return sorted(self.directory.glob("session_*/runtime_resources/working_dir_files/_ray_pkg_*/"))


def clean_environment() -> dict[str, str]:
    """Ours without anything that points to another Ray; `python` and `ray` are those of the tests."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "KINTSUGI_"))}
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return {**kept, "PATH": path, "RAY_USAGE_STATS_ENABLED": "0", "RAY_worker_niceness": "0"}


@contextmanager
def ray_head(cpus: int = 8, resources: str = "{}") -> Iterator[Head]:
    """Start a head on free ports; end its processes, and no other's."""
    directory = Path(tempfile.mkdtemp(prefix="kr", dir="/tmp"))  # sockets need short paths
    gcs, dashboard, client, agent, listen = free_ports(5)
    head = Head(f"http://127.0.0.1:{dashboard}", f"127.0.0.1:{gcs}", directory, secrets.token_hex(32))
    command = [
        *(str(RAY), "start", "--head", "--block", "--node-ip-address", "127.0.0.1"),
        *("--port", str(gcs), "--ray-client-server-port", str(client), "--num-cpus", str(cpus)),
        *("--dashboard-host", "127.0.0.1", "--dashboard-port", str(dashboard), "--resources", resources),
        *("--dashboard-agent-grpc-port", str(agent), "--dashboard-agent-listen-port", str(listen)),
        *("--temp-dir", str(directory), *MEMORY),
    ]
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, directory, ignore_errors=True)
        stack.enter_context(_process(command, head, "head"))
        _wait_for(head)
        yield head


@contextmanager
def worker_node(head: Head, cpus: int, prefix: Sequence[str] = ()) -> Iterator[None]:
    """Another node of the cluster; `prefix` is a command that its processes run under.

    It gets a temporary directory of its own, as a machine of its own has one: with the head's, it would remove the
    unpacked files of a job once it needs them no more, and the driver, which works there, would fail.
    """
    directory = Path(tempfile.mkdtemp(prefix="kr", dir="/tmp"))
    agent, listen = free_ports(2)
    command = [
        *(*prefix, str(RAY), "start", "--block", "--address", head.gcs, "--num-cpus", str(cpus)),
        *("--node-ip-address", "127.0.0.1", "--temp-dir", str(directory), *MEMORY),
        *("--dashboard-agent-grpc-port", str(agent), "--dashboard-agent-listen-port", str(listen)),
    ]
    before = alive(head)
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, directory, ignore_errors=True)
        stack.enter_context(_process(command, head, f"worker-{listen}"))
        deadline = time.monotonic() + START_SECONDS
        while alive(head) <= before:
            assert time.monotonic() < deadline, _log(head, f"worker-{listen}")
            time.sleep(0.3)
        yield


def alive(head: Head) -> int:
    """How many nodes the cluster has."""
    headers = {"Authorization": f"Bearer {head.token}"}
    answer = requests.get(f"{head.address}/nodes?view=summary", headers=headers, timeout=10).json()
    return sum(node["raylet"].get("state") == "ALIVE" for node in answer["data"]["summary"])


@contextmanager
def _process(command: list[str], head: Head, name: str) -> Iterator[None]:
    with (head.directory / f"{name}.out").open("w") as out:
        process = subprocess.Popen(command, env=head.environment, stdout=out, stderr=subprocess.STDOUT)
    try:
        yield
    finally:
        _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a node and everything that it started, which `ray start` itself takes long to do."""
    family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
    process.terminate()
    _, left = psutil.wait_procs(family, timeout=4)
    for each in left:
        each.kill()
    psutil.wait_procs(left, timeout=10)
    process.wait()


def _wait_for(head: Head) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        try:
            if requests.get(f"{head.address}/api/version", timeout=5).status_code == 401 and alive(head):
                return
        except (requests.RequestException, KeyError, ValueError):
            pass
        time.sleep(0.3)
    raise AssertionError(f"the head did not start\n{_log(head, 'head')}")


def _log(head: Head, name: str) -> str:
    return (head.directory / f"{name}.out").read_text(errors="replace")[-3000:]


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on now."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
