"""The file system under the store: room, and whether it does what the store's promises rest on."""

from __future__ import annotations

import fcntl
import shutil
import tempfile
from pathlib import Path

from kintsugi.doctor.finding import Finding, fail, ok, warn
from pipeline.store import write_text

GIB = 2**30
LEAST_SPACE, GOOD_SPACE = GIB, 10 * GIB
"""The default experiment leaves about a tenth of a GiB; checkpoints of larger models take many times their weights."""


def space(store: Path) -> Finding:
    """Free space where artifacts will be."""
    free = shutil.disk_usage(_existing(store)).free
    found = f"{free / GIB:.1f} GiB free at {store}"
    if free < LEAST_SPACE:
        return fail("disk", found, "Make room, or name another place with --store.")
    if free < GOOD_SPACE:
        return warn("disk", found, "Enough for the tiny model. Checkpoints of larger ones need more.")
    return ok("disk", found)


def behaviour(store: Path) -> Finding:
    """Write, fsync, rename and lock as the store does, in a folder that is removed again."""
    place = _existing(store)
    try:
        with tempfile.TemporaryDirectory(dir=place, prefix=".kintsugi-doctor-") as folder:
            write_text(Path(folder) / "file", "first")
            write_text(Path(folder) / "file", "second")
            if (Path(folder) / "file").read_text() != "second":
                return fail("store", f"{place}: a renamed file keeps its old content", "Use another file system.")
            locks = _locks_hold(Path(folder) / "lock")
    except OSError as error:
        return fail("store", f"{place}: {error.strerror or error}", "Give a place to write to: --store FOLDER.")
    if not locks:
        return fail("store", f"{place}: locks do not hold", "Two runs could make one artifact: mount it with locking.")
    return ok("store", f"{place} renames, syncs and locks")


def _locks_hold(path: Path) -> bool:
    """Whether a second lock on a file is refused while the first is held."""
    with path.open("w") as first, path.open("w") as second:
        fcntl.flock(first, fcntl.LOCK_EX | fcntl.LOCK_NB)
        try:
            fcntl.flock(second, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        return False


def _existing(path: Path) -> Path:
    """The path itself, or the nearest folder above it that exists."""
    return next(place for place in (path, *path.parents) if place.is_dir())
