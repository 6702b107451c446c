"""The system call filter: what strangers' code may not even ask the kernel for."""

from __future__ import annotations

import ctypes
import errno
from functools import cache

from pipeline.sandbox.kernel import PR_SET_SECCOMP, control, platform_name

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

SIGNALS = {"x86_64": (62, 129, 200, 234, 297, 424), "aarch64": (129, 130, 131, 138, 240, 424)}
"""Sending signals: kill, tkill, tgkill, their queueing forms, and pidfd_send_signal."""

LIMITS = {"x86_64": (141, 144, 203, 302), "aarch64": (118, 119, 122, 140, 261)}
"""Setting limits, priorities, schedules and cores, which can be done to other processes of one user."""

AUDIT_ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
SYS_CLONE = {"x86_64": 56, "aarch64": 220}
SYS_CLONE3 = 435


class _Filter(ctypes.Structure):
    _fields_ = [("code", ctypes.c_ushort), ("yes", ctypes.c_ubyte), ("no", ctypes.c_ubyte), ("k", ctypes.c_uint32)]


class _FilterProgram(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("filters", ctypes.POINTER(_Filter))]


@cache
def program(*, others_in_reach: bool) -> _FilterProgram:
    """The filter: "not permitted" for the listed calls and for processes; threads stay possible.

    With `others_in_reach`, where the process ids are not its own alone, signals and limits are denied as well.
    """
    machine = platform_name()
    denied = DENIED[machine] + (SIGNALS[machine] + LIMITS[machine] if others_in_reach else ())
    kill, allow, refuse, missing = 0x80000000, 0x7FFF0000, 0x50000 | errno.EPERM, 0x50000 | errno.ENOSYS
    load, equal, above, has_bit, give = 0x20, 0x15, 0x35, 0x45, 0x06
    steps = [
        (load, 0, 0, 4), (equal, 1, 0, AUDIT_ARCH[machine]), (give, 0, 0, kill),
        (load, 0, 0, 0), (above, 0, 1, 0x40000000), (give, 0, 0, kill),
        (equal, 0, 1, SYS_CLONE3), (give, 0, 0, missing),
    ]  # fmt: skip
    for number in denied:
        steps += [(equal, 0, 1, number), (give, 0, 0, refuse)]
    thread = 0x10000  # CLONE_THREAD, in the first argument's low half
    steps += [(equal, 0, 3, SYS_CLONE[machine]), (load, 0, 0, 16), (has_bit, 1, 0, thread), (give, 0, 0, refuse)]
    steps += [(give, 0, 0, allow)]
    return _FilterProgram(len(steps), (_Filter * len(steps))(*(_Filter(*step) for step in steps)))


def filter_system_calls(*, others_in_reach: bool) -> None:
    """Put the filter around this process. There is no way back."""
    filters = program(others_in_reach=others_in_reach)
    control("filtering system calls", PR_SET_SECCOMP, 2, ctypes.byref(filters))
