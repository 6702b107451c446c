"""Takes everything away from this process: the last thing our own code does before strangers' code runs in it.

Plain kernel calls through ctypes, so that no package has to be installed. In order:

1. `enter_namespaces`: own mounts, network (none), IPC and process ids; a user namespace where we are not root.
2. `build_root`: an empty read-only root which holds Python, the system libraries and /dev/null, nothing else.
   There is no /proc, /home, /tmp or /run in it, so there is nothing to hide.
3. `drop_privileges`: nobody's uid, no capabilities, resource limits, and a system call filter.

Runs in the child alone, with the standard library alone. Anything that does not work raises `IsolationError`.
"""

# Importing pathlib would double the child's start.
# ruff: noqa: PTH100, PTH103, PTH110, PTH112, PTH114, PTH115, PTH117, PTH120, PTH123, PTH211

from __future__ import annotations

import ctypes
import errno
import os
import resource
import sys

CLONE_NEWNS, CLONE_NEWUTS, CLONE_NEWIPC = 0x20000, 0x4000000, 0x8000000
CLONE_NEWUSER, CLONE_NEWPID, CLONE_NEWNET = 0x10000000, 0x20000000, 0x40000000
NAMESPACES = CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWPID | CLONE_NEWNET

MS_RDONLY, MS_NOSUID, MS_NODEV, MS_REMOUNT, MS_BIND, MS_REC, MS_PRIVATE = 1, 2, 4, 32, 4096, 1 << 14, 1 << 18
MNT_DETACH = 2
AT_FDCWD, AT_RECURSIVE = -100, 0x8000
SYS_MOUNT_SETATTR = 442
MOUNT_ATTR_RDONLY, MOUNT_ATTR_NOSUID = 1, 2

PR_SET_PDEATHSIG, PR_SET_SECCOMP, PR_CAPBSET_DROP, PR_SET_NO_NEW_PRIVS = 1, 22, 24, 38
SIGKILL = 9  # importing `signal` costs a fifth of the child's start
NOBODY = 65534
THREADS, OPEN_FILES = 512, 32

SYSTEM = ("/usr", "/lib", "/lib32", "/lib64", "/nix/store", "/etc/ld.so.cache", "/etc/localtime", "/dev/null")
"""What Python needs beside its own library: shared libraries and time zones."""

DENIED = {
    "x86_64": (
        29, 41, 57, 58, 59, 64, 68, 101, 135, 155, 161, 165, 166, 175, 246, 248, 249, 250, 272, 298, 304, 308, 310, 311,
        313, 319, 320, 321, 322, 323, 425, 428, 429, 430, 442,
    ),
    "aarch64": (
        39, 40, 41, 51, 92, 97, 104, 105, 117, 186, 190, 194, 198, 217, 218, 219, 221, 241, 265, 268, 270, 271, 273,
        279, 280, 281, 282, 294, 425, 428, 429, 430, 442,
    ),
}  # fmt: skip
"""System calls that no answer needs: starting programs, sockets (vsock ignores the network namespace), shared memory
outside the memory limit, ptrace, mounts, namespaces, modules, keys, bpf, perf, userfaultfd, io_uring.
Numbers: asm/unistd_64.h and asm-generic/unistd.h of Linux 6.1."""
AUDIT_ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
SYS_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}
SYS_CLONE = {"x86_64": 56, "aarch64": 220}
SYS_CLONE3 = 435

libc = ctypes.CDLL(None, use_errno=True)


class IsolationError(Exception):
    """One step could not be taken; the text says which, and what the kernel said."""


class _MountAttributes(ctypes.Structure):
    _fields_ = [(name, ctypes.c_uint64) for name in ("set", "clear", "propagation", "user_namespace")]


class _Filter(ctypes.Structure):
    _fields_ = [("code", ctypes.c_ushort), ("yes", ctypes.c_ubyte), ("no", ctypes.c_ubyte), ("k", ctypes.c_uint32)]


class _FilterProgram(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("filters", ctypes.POINTER(_Filter))]


def _call(step: str, function: str, *arguments: object) -> None:
    if getattr(libc, function)(*arguments) == -1:
        number = ctypes.get_errno()
        raise IsolationError(f"{step}: {os.strerror(number)} ({errno.errorcode.get(number, number)})")


def _control(step: str, option: int, *arguments: object) -> None:
    padded = [*arguments, 0, 0, 0, 0][:4]
    _call(step, "prctl", option, *(ctypes.c_ulong(value) if isinstance(value, int) else value for value in padded))


def enter_namespaces() -> None:
    """Namespaces of our own; the process id one begins with the next fork."""
    if os.geteuid() != 0 or libc.unshare(NAMESPACES) != 0:
        enter_user_namespace()


def enter_user_namespace() -> None:
    """The same without being root: in a user namespace where our user is called nobody."""
    user, group = os.geteuid(), os.getegid()
    _call("creating namespaces", "unshare", CLONE_NEWUSER | NAMESPACES)
    for name, text in (("setgroups", "deny"), ("uid_map", f"{NOBODY} {user} 1"), ("gid_map", f"{NOBODY} {group} 1")):
        try:
            with open(f"/proc/self/{name}", "w") as file:
                file.write(text)
        except OSError as error:
            raise IsolationError(f"writing /proc/self/{name}: {error.strerror}") from None


def die_with_parent() -> None:
    _control("asking for a signal when the parent ends", PR_SET_PDEATHSIG, SIGKILL)


def _mount(source: str, target: str, kind: str, flags: int, options: str = "") -> None:
    step = f"mounting {target or '/'}"
    _call(step, "mount", source.encode(), target.encode(), kind.encode(), ctypes.c_ulong(flags), options.encode())


def _needed() -> list[str]:
    """The directories and files that stay visible, without those inside others."""
    library = os.path.dirname(os.path.abspath(os.__file__))
    own = [sys.base_prefix, sys.base_exec_prefix, library, *sys.path]
    found = sorted({os.path.normpath(path) for path in (*SYSTEM, *own) if os.path.isabs(path) and os.path.exists(path)})
    return [path for path in found if path != "/" and not any(path.startswith(f"{other}/") for other in found)]


def build_root() -> None:
    """Make an empty file system our root, show what is needed in it, and make all of it read-only."""
    new = "/proc"  # every system has this directory, and nothing that we need is inside
    _mount("none", "/", "", MS_REC | MS_PRIVATE)
    _mount("none", new, "tmpfs", MS_NOSUID | MS_NODEV, "size=256k,nr_inodes=1024,mode=755")
    shown = [path for path in _needed() if _show(path, new)]
    os.chdir(new)
    _enter_root()
    _make_read_only(shown)


def _show(path: str, new: str) -> bool:
    """Bind `path` to the same place under the new root; whether a mount was needed."""
    target = new + path
    os.makedirs(os.path.dirname(target), 0o755, exist_ok=True)
    if os.path.islink(path) and path.count("/") == 1:  # /lib -> usr/lib
        os.symlink(os.readlink(path), target)
        return False
    if os.path.isdir(path):
        os.makedirs(target, 0o755, exist_ok=True)
    else:
        os.close(os.open(target, os.O_CREAT | os.O_WRONLY, 0o644))
    _mount(path, target, "", MS_BIND | MS_REC)
    return True


def _enter_root() -> None:
    """Make the working directory the root; under a chroot, where the kernel refuses, change the root to it."""
    if libc.syscall(SYS_PIVOT_ROOT[platform_name()], b".", b".") == 0:
        _call("leaving the old root", "umount2", b".", MNT_DETACH)
    else:
        _call("changing the root", "chroot", b".")
    os.chdir("/")


def _make_read_only(shown: list[str]) -> None:
    attributes = _MountAttributes(MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID, 0, 0, 0)
    size = ctypes.sizeof(attributes)
    if libc.syscall(SYS_MOUNT_SETATTR, AT_FDCWD, b"/", AT_RECURSIVE, ctypes.byref(attributes), size) == 0:
        return
    for path in [*shown, "/"]:  # before Linux 5.12: one by one, keeping the flags that a user namespace locks
        kept = os.statvfs(path).f_flag & 0xE  # nosuid, nodev, noexec
        _mount("none", path, "", MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID | kept)


def platform_name() -> str:
    machine = os.uname().machine
    if machine not in DENIED or sys.maxsize < 2**32:
        raise IsolationError(f"filtering system calls: no table for {machine}")
    return machine


def drop_privileges(cpu_seconds: int, memory_bytes: int) -> None:
    """Nobody's uid, no capabilities, limits, and the system call filter. There is no way back."""
    for capability in range(64):
        if libc.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) == -1:
            break
    if os.geteuid() == 0:
        os.setgroups([])
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)
    header, nothing = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
    _call("dropping capabilities", "capset", header, nothing)
    if not os.access(os.__file__, os.R_OK):
        raise IsolationError(f"reading Python's library as user nobody: {os.__file__} is not open to it")
    _control("forbidding new privileges", PR_SET_NO_NEW_PRIVS, 1)
    _limit(cpu_seconds, memory_bytes)
    _filter_system_calls()


def _limit(cpu_seconds: int, memory_bytes: int) -> None:
    for kind, most in (
        (resource.RLIMIT_CPU, cpu_seconds),
        (resource.RLIMIT_AS, memory_bytes),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_MEMLOCK, 0),
        (resource.RLIMIT_NOFILE, OPEN_FILES),
        (resource.RLIMIT_NPROC, THREADS),
    ):
        _, hard = resource.getrlimit(kind)
        value = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(kind, (value, value))


def _filter_system_calls() -> None:
    """Answer "not permitted" to the listed calls and to processes; threads stay possible."""
    machine = platform_name()
    kill, allow, refuse, missing = 0x80000000, 0x7FFF0000, 0x50000 | errno.EPERM, 0x50000 | errno.ENOSYS
    load, equal, above, has_bit, give = 0x20, 0x15, 0x35, 0x45, 0x06
    steps = [
        (load, 0, 0, 4), (equal, 1, 0, AUDIT_ARCH[machine]), (give, 0, 0, kill),
        (load, 0, 0, 0), (above, 0, 1, 0x40000000), (give, 0, 0, kill),
        (equal, 0, 1, SYS_CLONE3), (give, 0, 0, missing),
    ]  # fmt: skip
    for number in DENIED[machine]:
        steps += [(equal, 0, 1, number), (give, 0, 0, refuse)]
    thread = 0x10000  # CLONE_THREAD, in the first argument's low half
    steps += [(equal, 0, 3, SYS_CLONE[machine]), (load, 0, 0, 16), (has_bit, 1, 0, thread), (give, 0, 0, refuse)]
    steps += [(give, 0, 0, allow)]
    filters = (_Filter * len(steps))(*(_Filter(*step) for step in steps))
    program = _FilterProgram(len(steps), filters)
    _control("filtering system calls", PR_SET_SECCOMP, 2, ctypes.byref(program))
