"""The few kernel calls that Python has no function for, through ctypes: namespaces, mounts, process controls."""

from __future__ import annotations

import ctypes
import errno
import os
import sys

CLONE_NEWNS, CLONE_NEWUTS, CLONE_NEWIPC = 0x20000, 0x4000000, 0x8000000
CLONE_NEWUSER, CLONE_NEWPID, CLONE_NEWNET = 0x10000000, 0x20000000, 0x40000000

MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_REMOUNT = 1, 2, 4, 8, 32
MS_BIND, MS_REC, MS_PRIVATE = 4096, 1 << 14, 1 << 18
MNT_DETACH = 2
AT_FDCWD, AT_RECURSIVE = -100, 0x8000
SYS_MOUNT_SETATTR = 442
MOUNT_ATTR_RDONLY, MOUNT_ATTR_NOSUID = 1, 2

PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_SECCOMP, PR_CAPBSET_DROP, PR_SET_NO_NEW_PRIVS = 1, 4, 22, 24, 38
SYS_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}

libc = ctypes.CDLL(None, use_errno=True)


class IsolationError(Exception):
    """One step could not be taken; the text says which, and what the kernel said."""


class _MountAttributes(ctypes.Structure):
    _fields_ = [(name, ctypes.c_uint64) for name in ("set", "clear", "propagation", "user_namespace")]


def call(step: str, function: str, *arguments: object) -> None:
    """Call a function of the C library; `step` says what for, should it fail."""
    if getattr(libc, function)(*arguments) == -1:
        number = ctypes.get_errno()
        raise IsolationError(f"{step}: {os.strerror(number)} ({errno.errorcode.get(number, number)})")


def control(step: str, option: int, *arguments: object) -> None:
    """prctl."""
    padded = [*arguments, 0, 0, 0, 0][:4]
    call(step, "prctl", option, *(ctypes.c_ulong(value) if isinstance(value, int) else value for value in padded))


def unshare(flags: int) -> None:
    call("creating namespaces", "unshare", flags)


def mount(source: str, target: str, kind: str, flags: int, options: str = "") -> None:
    step = f"mounting {target or '/'}"
    call(step, "mount", source.encode(), target.encode(), kind.encode(), ctypes.c_ulong(flags), options.encode())


def enter_root() -> None:
    """Make the working directory the root; under a chroot, where the kernel refuses, change the root to it."""
    if libc.syscall(SYS_PIVOT_ROOT[platform_name()], b".", b".") == 0:
        call("leaving the old root", "umount2", b".", MNT_DETACH)
    else:
        call("changing the root", "chroot", b".")
    os.chdir("/")


def make_read_only(shown: list[str]) -> None:
    """Everything mounted at and under the root, `shown` among it, becomes read-only."""
    attributes = _MountAttributes(MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID, 0, 0, 0)
    size = ctypes.sizeof(attributes)
    if libc.syscall(SYS_MOUNT_SETATTR, AT_FDCWD, b"/", AT_RECURSIVE, ctypes.byref(attributes), size) == 0:
        return
    for path in [*shown, "/"]:  # before Linux 5.12: one by one, keeping the flags that a user namespace locks
        kept = os.statvfs(path).f_flag & 0xE  # nosuid, nodev, noexec
        mount("none", path, "", MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID | kept)


def bar_capabilities() -> None:
    """No program started from here on can have any; only who is allowed to may bar them."""
    for capability in range(64):
        if libc.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) == -1:
            break


def drop_capabilities() -> None:
    """Give up those that we have."""
    header, nothing = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
    call("dropping capabilities", "capset", header, nothing)


def platform_name() -> str:
    """The processor, if we know its system calls."""
    machine = os.uname().machine
    if machine not in SYS_PIVOT_ROOT or sys.maxsize < 2**32:
        raise IsolationError(f"filtering system calls: no table for {machine}")
    return machine
