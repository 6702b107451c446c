"""What commands write where the user said: whole or not at all, and never over something else unless told to."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from pipeline.failures import UserError
from pipeline.store import file_hash, write_atomically

ROW_FILES = (".json", ".jsonl")


def check_row_file(path: Path) -> None:
    """Raise a config error where rows cannot be written to this name."""
    if path.suffix not in ROW_FILES:
        hint = "Name a .json file (a list) or a .jsonl file (one object on each line)."
        raise UserError("config", f"the suffix '{path.suffix}' is not known.", str(path), hint)
    if path.is_dir():
        raise UserError("config", "this is a directory.", str(path), "Name a file in it.")


def refuse_to_replace(path: Path, force: bool, marker: str = "") -> None:
    """Raise a config error where something is there already and may not be replaced. An empty directory is nothing.

    Even `force` replaces a directory only if it holds the `marker`, a file of every directory of its sort: a slip in -o
    must not remove a home directory.
    """
    if not path.exists() or (path.is_dir() and not any(path.iterdir())):
        return
    if path.is_dir() and not (path / marker).is_file():
        raise UserError("config", "this directory holds something else.", str(path), "Give another -o.")
    if path.is_file() and marker:
        raise UserError("config", "this is a file, and a directory is to be written.", str(path), "Give another -o.")
    if not force:
        raise UserError("config", "this exists already.", str(path), "Give another -o, or --force to replace it.")


def write_rows(path: Path, rows: Iterable[dict[str, Any]], force: bool) -> int:
    """Write rows as a JSON list or as JSON lines, by the file's suffix, and count them.

    A file that holds the same bytes already is left as it is; another is replaced only by `force`.
    """
    check_row_file(path)
    count = 0

    def write(draft: Path) -> None:
        nonlocal count
        with draft.open("w", encoding="utf-8") as file:
            count = _write_json(file.write, rows, listed=path.suffix == ".json")

    draft = path.with_name(f".{path.name}.{os.getpid()}.draft")
    try:
        write_atomically(draft, write)
        if not path.exists() or file_hash(path) != file_hash(draft):
            refuse_to_replace(path, force)
            draft.replace(path)
    except OSError as error:
        raise _unwritable(path, error) from None
    finally:
        draft.unlink(missing_ok=True)
    return count


def _write_json(write: Callable[[str], object], rows: Iterable[dict[str, Any]], listed: bool) -> int:
    """A row a line, in either form."""
    count = 0
    for count, row in enumerate(rows, start=1):
        before = ("[\n" if count == 1 else ",\n") if listed else ""
        write(before + json.dumps(row, ensure_ascii=False) + ("" if listed else "\n"))
    if listed:
        write("\n]\n" if count else "[]\n")
    return count


def write_directory(target: Path, fill: Callable[[Path], object], force: bool, marker: str) -> None:
    """Let `fill` make a directory, then put it in its place at once. What was there is removed last.

    A directory that holds the same bytes already is left as it is.
    """
    draft, old = (target.with_name(f".{target.name}.{os.getpid()}.{what}") for what in ("draft", "old"))
    try:
        draft.mkdir(parents=True)
        fill(draft)
        if target.is_dir() and _contents(target) == _contents(draft):
            return
        refuse_to_replace(target, force, marker)
        if target.exists():
            target.rename(old)
        draft.rename(target)
    except OSError as error:
        if old.exists() and not target.exists():
            old.rename(target)
        raise _unwritable(target, error) from None
    finally:
        shutil.rmtree(draft, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)


def _contents(directory: Path) -> dict[Path, str]:
    files = (path for path in directory.rglob("*") if path.is_file())
    return {path.relative_to(directory): file_hash(path) for path in files}


def copy_directory(source: Path, target: Path, force: bool, marker: str) -> None:
    """Copy a directory to where the user wants it: real files, so that editing them leaves the store alone."""
    write_directory(target, lambda draft: shutil.copytree(source, draft, dirs_exist_ok=True), force, marker)


def _unwritable(path: Path, error: OSError) -> UserError:
    return UserError("environment", f"cannot write: {error.strerror or error}.", str(path), "Give another -o.")
