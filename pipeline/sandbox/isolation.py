"""Takes everything away from a process: the last thing our own code does before strangers' code runs in it.

Plain kernel calls, so that no package has to be installed. In order:

1. `enter`, once for many jobs: user, mount, network and other namespaces, and an empty read-only root which holds the
   standard library and shared libraries, nothing else. There is no /proc, /home or /run in it, so nothing to hide.
2. `enter_job`, for each job: mounts, network (none, not even loopback), IPC and process ids of its own.
3. `seal`, in the process that runs the code: a small writable /tmp in memory, nobody's uid, no capabilities, resource
   limits, and a system call filter.

Two more mechanisms share the third step. Within `bubblewrap` the first two are done, by it. With `unsafe`, which the
user has to ask for, they are left out, and so is the filter where the machine has none.

Runs in the sandboxed side alone, with the standard library alone. What does not work raises `IsolationError`.
"""

# Paths are strings here, as in the calls they go into.
# ruff: noqa: PTH102, PTH103, PTH112, PTH115, PTH120, PTH123, PTH211

from __future__ import annotations

import os
import resource
import signal
from contextlib import suppress
from typing import Any, Literal

from pipeline.sandbox import kernel
from pipeline.sandbox.filters import filter_system_calls, program
from pipeline.sandbox.kernel import IsolationError
from pipeline.sandbox.visible import hidden, is_link, shown

Mechanism = Literal["namespaces", "bubblewrap", "unsafe"]
NAMESPACES: Mechanism = "namespaces"
BUBBLEWRAP: Mechanism = "bubblewrap"
UNSAFE: Mechanism = "unsafe"

OWN = kernel.CLONE_NEWNS | kernel.CLONE_NEWUTS | kernel.CLONE_NEWIPC | kernel.CLONE_NEWNET
NOBODY = 65534
THREADS, OPEN_FILES = 512, 32
WRITABLE = "/tmp"
FILES = 1024
"""Files and directories that a job may make, at most."""


def enter(mechanism: str) -> None:
    """What is done once for many jobs."""
    if mechanism == NAMESPACES:
        _enter_namespaces()
    kernel.bar_capabilities()
    program(others_in_reach=mechanism != NAMESPACES)  # made once, for all jobs


def _enter_namespaces() -> None:
    process = os.open("/proc/self", os.O_PATH | os.O_DIRECTORY)  # out of sight once the root is changed
    if os.geteuid() == 0 and kernel.libc.unshare(kernel.CLONE_NEWNS) == 0:
        _build_root()
        if _nobody_may_make_namespaces():  # else each job becomes nobody by itself
            _become_nobody()
            _enter_user_namespace(process)
    else:
        _enter_user_namespace(process)
        _build_root()
    os.close(process)


def enter_job(mechanism: str) -> None:
    """Namespaces of one job; the process id one begins with the next fork."""
    if mechanism == NAMESPACES:
        kernel.unshare(OWN | kernel.CLONE_NEWPID)
    elif mechanism == UNSAFE:
        os.setsid()


def seal(mechanism: str, job: dict[str, Any]) -> None:
    """Give up the rest, in the process that will run the code. There is no way back."""
    if mechanism == NAMESPACES:
        options = f"size={job['disk_bytes']},nr_inodes={FILES},mode=1777"
        kernel.mount("none", WRITABLE, "tmpfs", kernel.MS_NOSUID | kernel.MS_NODEV | kernel.MS_NOEXEC, options)
    if mechanism == UNSAFE:
        os.setpgid(0, 0)
    os.chdir(job["directory"] or WRITABLE)
    if os.geteuid() == 0 and (mechanism != UNSAFE or _nobody_may_read_python()):
        _become_nobody()
    kernel.drop_capabilities()
    if not os.access(os.__file__, os.R_OK):
        raise IsolationError(f"reading Python's library as user nobody: {os.__file__} is not open to it")
    kernel.control("forbidding new privileges", kernel.PR_SET_NO_NEW_PRIVS, 1)
    kernel.control("asking to end with the supervisor", kernel.PR_SET_PDEATHSIG, signal.SIGKILL)
    _limit(job)
    try:
        filter_system_calls(others_in_reach=mechanism != NAMESPACES)
    except IsolationError:
        if mechanism != UNSAFE:
            raise


def end_group(mechanism: str, process: int) -> None:
    """End what a job has started. Where it had process ids of its own, the kernel has done so."""
    if mechanism == UNSAFE:
        with suppress(ProcessLookupError):
            os.killpg(process, signal.SIGKILL)


def _enter_user_namespace(process: int) -> None:
    """Namespaces of our own within a user namespace, in which our user is called nobody."""
    user, group = os.geteuid(), os.getegid()
    kernel.unshare(kernel.CLONE_NEWUSER | OWN)
    for name, text in (("setgroups", "deny"), ("uid_map", f"{NOBODY} {user} 1"), ("gid_map", f"{NOBODY} {group} 1")):
        try:
            with open(os.open(name, os.O_WRONLY, dir_fd=process), "w") as file:
                file.write(text)
        except OSError as error:
            raise IsolationError(f"writing /proc/self/{name}: {error.strerror}") from None


def _nobody_may_make_namespaces() -> bool:
    """Whether the kernel lets an unprivileged user have a user namespace: tried in a process that ends."""
    process = os.fork()
    if process == 0:
        _become_nobody()
        os._exit(kernel.libc.unshare(kernel.CLONE_NEWUSER | OWN) != 0 or not os.access(os.__file__, os.R_OK))
    return os.waitpid(process, 0)[1] == 0


def _nobody_may_read_python() -> bool:
    os.seteuid(NOBODY)
    try:
        return os.access(os.__file__, os.R_OK, effective_ids=True)
    finally:
        os.seteuid(0)


def _become_nobody() -> None:
    os.setgroups([])
    os.setresgid(NOBODY, NOBODY, NOBODY)
    os.setresuid(NOBODY, NOBODY, NOBODY)
    kernel.control("owning our own /proc entry", kernel.PR_SET_DUMPABLE, 1)


def _build_root() -> None:
    """Make an empty file system our root, show what is needed in it, and make all of it read-only."""
    new = "/proc"  # every system has this directory, and nothing that we need is inside
    kernel.mount("none", "/", "", kernel.MS_REC | kernel.MS_PRIVATE)
    flags = kernel.MS_NOSUID | kernel.MS_NODEV
    kernel.mount("none", new, "tmpfs", flags, f"size=256k,nr_inodes={FILES},mode=755")
    mounted = [path for path in shown() if _show(path, new)]
    for path in hidden():
        kernel.mount("none", new + path, "tmpfs", flags, "size=4k,mode=755")
    os.mkdir(new + WRITABLE)
    os.chdir(new)
    kernel.enter_root()
    kernel.make_read_only(mounted)


def _show(path: str, new: str) -> bool:
    """Bind `path` to the same place under the new root; whether a mount was needed."""
    target = new + path
    os.makedirs(os.path.dirname(target), 0o755, exist_ok=True)
    if is_link(path):
        os.symlink(os.readlink(path), target)
        return False
    if os.path.isdir(path):
        os.makedirs(target, 0o755, exist_ok=True)
    else:
        os.close(os.open(target, os.O_CREAT | os.O_WRONLY, 0o644))
    kernel.mount(path, target, "", kernel.MS_BIND | kernel.MS_REC)
    return True


def _limit(job: dict[str, Any]) -> None:
    """Files in memory count as memory: together they have what the job may use."""
    for kind, most in (
        (resource.RLIMIT_CPU, job["cpu_seconds"]),
        (resource.RLIMIT_AS, job["memory_bytes"] - job["disk_bytes"]),
        (resource.RLIMIT_FSIZE, job["disk_bytes"]),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_MEMLOCK, 0),
        (resource.RLIMIT_NOFILE, OPEN_FILES),
        (resource.RLIMIT_NPROC, THREADS),
    ):
        _, hard = resource.getrlimit(kind)
        value = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(kind, (value, value))
