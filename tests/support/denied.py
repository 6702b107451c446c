"""Runs a command as on a machine that refuses namespaces, which is what pods often do: `python denied.py COMMAND...`.

The kernel itself says no, by a system call filter that everything started from here inherits.
"""

from __future__ import annotations

import ctypes
import errno
import os
import sys

from pipeline.sandbox import filters, kernel

MOUNT = {"x86_64": (155, 161, 165, 272, 308), "aarch64": (40, 41, 51, 97, 268)}
"""pivot_root, chroot, mount, unshare, setns, in the order of their numbers."""
NAMESPACES = 0x7E020000


def deny() -> None:
    machine = kernel.platform_name()
    allow, refuse, missing = 0x7FFF0000, 0x50000 | errno.EPERM, 0x50000 | errno.ENOSYS
    load, equal, has_bit, give = 0x20, 0x15, 0x45, 0x06
    steps = [(load, 0, 0, 0), (equal, 0, 1, filters.SYS_CLONE3), (give, 0, 0, missing)]
    for number in MOUNT[machine]:
        steps += [(equal, 0, 1, number), (give, 0, 0, refuse)]
    steps += [(equal, 0, 3, filters.SYS_CLONE[machine]), (load, 0, 0, 16), (has_bit, 0, 1, NAMESPACES)]
    steps += [(give, 0, 0, refuse), (give, 0, 0, allow)]
    table = (filters._Filter * len(steps))(*(filters._Filter(*step) for step in steps))
    kernel.control("no new privileges", kernel.PR_SET_NO_NEW_PRIVS, 1)
    program = filters._FilterProgram(len(steps), table)
    kernel.control("denying namespaces", kernel.PR_SET_SECCOMP, 2, ctypes.byref(program))


if __name__ == "__main__":
    deny()
    os.execvp(sys.argv[1], sys.argv[1:])
