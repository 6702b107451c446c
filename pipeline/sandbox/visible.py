"""What strangers' code may see of the file system: shared libraries, time zones and Python's standard library."""

# Paths are strings here, as in the calls they go into.
# ruff: noqa: PTH100, PTH110, PTH112, PTH114, PTH117, PTH118, PTH120, PTH208

from __future__ import annotations

import os
import sys

SYSTEM = (
    "/lib", "/lib32", "/lib64", "/usr/lib", "/usr/lib32", "/usr/lib64", "/nix/store",
    "/usr/share/zoneinfo", "/etc/ld.so.cache", "/etc/localtime", "/dev/null",
)  # fmt: skip
"""What Python needs beside its own library."""

PACKAGES = ("site-packages", "dist-packages")


def shown() -> list[str]:
    """The directories and files that stay visible, without those inside others; links such as /lib among them."""
    library = os.path.dirname(os.path.abspath(os.__file__))
    own = [f"{prefix}/{name}" for prefix in (sys.base_prefix, sys.base_exec_prefix) for name in ("lib", sys.platlibdir)]
    paths = {
        os.path.normpath(path) for path in (*SYSTEM, *own, library) if os.path.isabs(path) and os.path.exists(path)
    }
    found = sorted(paths)
    return [path for path in found if path != "/" and not any(path.startswith(f"{other}/") for other in found)]


def is_link(path: str) -> bool:
    """Whether a path of `shown` is a link like /lib -> usr/lib, to be made again rather than mounted."""
    return os.path.islink(path) and path.count("/") == 1


def hidden() -> list[str]:
    """Directories of installed packages within what is shown: answers get the standard library alone."""
    roots = shown()
    libraries = {os.path.dirname(os.path.dirname(os.path.abspath(os.__file__))), "/usr/lib", "/usr/local/lib"}
    inside = [
        os.path.join(library, name, packages)
        for library in sorted(libraries)
        if any(library == root or library.startswith(f"{root}/") for root in roots)
        for name in sorted(os.listdir(library))
        if name.startswith("python")
        for packages in PACKAGES
    ]
    return [path for path in inside if os.path.isdir(path)]
