"""Where a row stands, and the row as it was parsed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from pipeline.records import Reject, Row

LONGEST_ROW = 2**24
"""Bytes of a line, characters of an item or of a CSV cell: what is longer is not even read into memory."""


@dataclass(frozen=True, slots=True)
class Place:
    """The number of a row's line (`unit` is empty), or of its item or row in a file without lines, from 1."""

    file: str
    number: int
    unit: str = ""

    def __str__(self) -> str:
        return f"{self.file}, {self.unit} {self.number}" if self.unit else self.id

    @property
    def id(self) -> str:
        return f"{self.file}:{self.number}"

    def bad(self, reason: str, detail: str) -> Reject:
        return Reject(self.id, reason, f"{self}: {detail}")


@dataclass(frozen=True, slots=True)
class Parsed:
    """A row as an object, and where it stands."""

    place: Place
    row: Row


@dataclass(frozen=True)
class Part:
    """One data file of a source: its name in rejects, its full place in errors, its bytes and a hash of them."""

    name: str
    where: str
    open: Callable[[], BinaryIO] = field(repr=False)
    hash: Callable[[], str] = field(repr=False)


@dataclass(frozen=True)
class Origin:
    """What a source names: rows in a fixed order, a hash of all that they depend on, and the files passed over.

    `name` is what rows say as their source where they do not say it themselves; it is the same however many files
    the rows are cut into.
    """

    name: str
    where: str
    rows: Callable[[], Iterator[Parsed | Reject]] = field(repr=False)
    fingerprint: Callable[[], str] = field(repr=False)
    files: int = 1
    passed_over: tuple[str, ...] = ()


def stem_of(path: Path | str) -> str:
    """A file's name without its suffixes."""
    return Path(path).name.removesuffix(".gz").rpartition(".")[0]
