"""What strangers' code may see of the file system: shared libraries, time zones and Python's standard library."""

# Paths are strings here, as in the calls they go into.
# ruff: noqa: PTH110, PTH112, PTH118, PTH120, PTH208, PTH100

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
    own = [f"{sys.base_prefix}/lib", f"{sys.base_exec_prefix}/lib", library, *sys.path]
    paths = {os.path.normpath(path) for path in (*SYSTEM, *own) if os.path.isabs(path) and os.path.exists(path)}
    found = sorted(paths)
    return [path for path in found if path != "/" and not any(path.startswith(f"{other}/") for other in found)]


def hidden() -> list[str]:
    """Directories of installed packages within what is shown: answers get the standard library alone."""
    libraries = {os.path.dirname(os.path.dirname(os.path.abspath(os.__file__))), "/usr/lib", "/usr/local/lib"}
    inside = [
        os.path.join(library, name, packages)
        for library in libraries
        if os.path.isdir(library)
        for name in os.listdir(library)
        if name.startswith("python")
        for packages in PACKAGES
    ]
    return [path for path in inside if os.path.isdir(path)]
