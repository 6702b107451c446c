"""What a sandboxed process may do to its interpreter and to the machine: nothing, as it says and as the kernel says."""

from __future__ import annotations

import hashlib
import os
import signal
import sys
import threading
from pathlib import Path

from sandboxes import NAMED, call, processes_called, sandbox, value_of, wait_for

from pipeline.sandbox.run import Limits, execute


def test_the_interpreter_is_not_changed(variant: str) -> None:
    code = """
import os, sys
def attempt(action, *arguments):
    try:
        action(*arguments)
    except OSError:
        return True
    return False
def f(executable, library):
    return [
        attempt(open, executable, "ab"), attempt(open, os.__file__, "ab"),
        attempt(open, library + "/sitecustomize.py", "w"),
        attempt(open, library + "/__pycache__/evil.pyc", "w"), attempt(os.unlink, os.__file__),
        attempt(os.rename, os.__file__, os.__file__ + "x"), attempt(os.chmod, os.__file__, 0o777),
        attempt(os.chmod, "/", 0o777), attempt(os.mkdir, "/usr/x"), attempt(os.mkdir, "/x"), attempt(os.mknod, "/n"),
        attempt(os.link, os.__file__, "/tmp/os.py"), attempt(os.symlink, "/a", "/b"),
    ]
"""
    library = Path(os.__file__).parent
    before = _state(library)
    attempts = value_of(code, str(Path(sys.executable).resolve()), str(library))
    assert attempts == [True] * len(attempts)
    assert _state(library) == before


def _state(library: Path) -> list[object]:
    files = [Path(os.__file__), Path(sys.executable).resolve()]
    digests = [hashlib.sha256(file.read_bytes()).hexdigest() for file in files]
    return [*digests, *(file.stat().st_mode for file in files), sorted(path.name for path in library.iterdir())]


def test_privileges_are_gone(variant: str) -> None:
    code = """
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
def f():
    tries = [
        libc.mount(b"none", b"/usr", b"tmpfs", 0, None), libc.chroot(b"/usr"), libc.setuid(0),
        libc.umount2(b"/tmp", 2), libc.umount2(b"/usr/lib", 2), libc.sethostname(b"x", 1),
    ]
    return [tries, os.getresuid(), os.getgroups()]
"""
    tries, users, groups = value_of(code)
    assert (tries, users) == ([-1] * 6, [65534] * 3)
    assert set(groups) <= {65534}


def test_the_kernel_says_the_same_of_the_process() -> None:
    """Seen from outside, while code runs: everything is its own, and it may do nothing."""
    code = NAMED + "import time\ndef f():\n    name('kintsugi-seen')\n    time.sleep(60)"
    with sandbox("namespaces"):
        running = threading.Thread(target=execute, args=(code, [call()], Limits(wall_seconds=30)))
        running.start()
        [process] = wait_for(lambda: processes_called("kintsugi-seen"))
        here, there = Path("/proc/self"), Path(f"/proc/{process}")
        shared = [name for name in ("mnt", "pid", "net", "ipc", "uts", "user") if _same(here, there, f"ns/{name}")]
        facts = dict(line.split(":\t") for line in (there / "status").read_text().splitlines() if ":\t" in line)
        seen = {
            name: facts[name].split()[0] for name in ("NoNewPrivs", "Seccomp", "CapEff", "CapPrm", "CapInh", "CapBnd")
        }
        files = sorted(int(path.name) for path in (there / "fd").iterdir())
        limits = (there / "limits").read_text()
        os.kill(process, signal.SIGKILL)
        running.join()
    assert shared == []
    assert seen == {
        "NoNewPrivs": "1",
        "Seccomp": "2",
        **dict.fromkeys(("CapEff", "CapPrm", "CapInh", "CapBnd"), "0" * 16),
    }
    assert files == [0, 1, 2, 3]
    assert "Max file size             16777216" in limits


def _same(here: Path, there: Path, name: str) -> bool:
    return (here / name).readlink() == (there / name).readlink()
