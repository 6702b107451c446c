"""Reads data files row by row: .jsonl, .jsonl.gz and .json.

A row that cannot be used comes out as a `Reject`, its id FILE:LINE (in a .json file FILE:ITEM, from 1); only a file
that cannot be used raises.
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from difflib import get_close_matches
from itertools import chain, islice
from pathlib import Path
from typing import Any, BinaryIO, cast

from pipeline.failures import UserError, nearest
from pipeline.records import CorruptionRecord, QARecord, Reject, Row
from pipeline.sources.formats import FORMATS, BadRow, Record, json_kind, recognise, record_id
from pipeline.store import file_hash

AUTO = "auto"
SUFFIXES = (".jsonl", ".jsonl.gz", ".json")
FIRST_ROWS = 20
"""How many rows are looked at to recognise a file's format."""
PER_LINE = "A .jsonl file has one JSON object on each line; a JSON list belongs into a .json file."


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a row stands: the number of its line, or of its item in a .json file."""

    path: Path
    number: int

    def __str__(self) -> str:
        return f"{self.path.name}, item {self.number}" if self.path.suffix == ".json" else self.id

    @property
    def id(self) -> str:
        return f"{self.path.name}:{self.number}"

    def bad(self, reason: str, detail: str) -> Reject:
        return Reject(self.id, reason, f"{self}: {detail}")


@dataclass(frozen=True, slots=True)
class _Parsed:
    """A JSON object and where it stands."""

    place: _Place
    row: Row


def fingerprint(path: Path) -> str:
    """sha256 of the file's bytes, in hex."""
    _check(path)
    return file_hash(path)


def read(path: Path, format: str = AUTO) -> Iterator[Record | Reject]:
    """Every row of a data file as a record, or as a `Reject` where it cannot be used; all records are of one type.

    The format is recognised from the first rows unless it is named. A file that cannot be used raises at once.
    """
    _check(path)
    if format not in (AUTO, *FORMATS):
        raise UserError("config", f"there is no format '{format}'.", str(path), nearest(format, [AUTO, *FORMATS]))
    rows = _json_rows(path) if path.suffix == ".json" else _jsonl_rows(path)
    first = list(islice(rows, FIRST_ROWS))
    if not first:
        raise UserError("data", "the file has no rows.", str(path), "Give a file with at least one JSON object.")
    name = _recognise_file(path, first) if format == AUTO else format
    return _convert_all(chain(first, rows), name, strict=format == AUTO)


def _check(path: Path) -> None:
    if not path.exists():
        close = get_close_matches(path.name, [entry.name for entry in path.parent.glob("*")], n=1)
        hint = f"Did you mean '{close[0]}'?" if close else "A relative path starts where the command is run."
        raise UserError("data", "there is no such file.", str(path), hint)
    if not path.is_file():
        raise UserError("data", "this is not a file.", str(path), f"Name one file: {', '.join(SUFFIXES)}.")
    if not path.name.endswith(SUFFIXES):
        what = f"the suffix '{path.suffix}' is not known." if path.suffix else "the file has no suffix."
        raise UserError("data", what, str(path), f"Rename or convert it: {', '.join(SUFFIXES)} can be read.")


def _jsonl_rows(path: Path) -> Iterator[_Parsed | Reject]:
    for number, line in enumerate(_lines(path), start=1):
        if line.strip():
            yield _parse_line(_Place(path, number), line)


def _lines(path: Path) -> Iterator[bytes]:
    try:
        with _open(path) as file:
            yield from file
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(
            "data", f"the file cannot be read to its end: {error}.", str(path), "Make or copy it anew."
        ) from error


def _open(path: Path) -> BinaryIO:
    return cast(BinaryIO, gzip.open(path)) if path.suffix == ".gz" else path.open("rb")


def _parse_line(place: _Place, line: bytes) -> _Parsed | Reject:
    """One line as a row. A byte order mark, which some editors put first, is not part of the JSON."""
    try:
        text = line.rstrip(b"\r\n")
        value = json.loads(text.decode("utf-8-sig" if place.number == 1 else "utf-8"))
    except UnicodeDecodeError as error:
        found = f"{error.object[error.start]:#04x} at byte {error.start + 1} of the line"
        return place.bad("encoding", f"this is not UTF-8: {found}.")
    except json.JSONDecodeError as error:
        return place.bad("bad-json", f"bad JSON at column {error.colno}: {error.msg}.")
    except (ValueError, RecursionError) as error:
        return place.bad("bad-json", f"JSON that cannot be read: {error}.")
    return _row(place, value)


def _json_rows(path: Path) -> Iterator[_Parsed | Reject]:
    for number, value in enumerate(_json_list(path), start=1):
        yield _row(_Place(path, number), value)


def _row(place: _Place, value: Any) -> _Parsed | Reject:
    if isinstance(value, dict):
        return _Parsed(place, value)
    return place.bad("not-an-object", f"a row should be an object but is {json_kind(type(value))}.")


def _json_list(path: Path) -> list[Any]:
    """The list in a .json file. Bytes that are not UTF-8 become lone surrogates, for which their rows are rejected."""
    text = b"".join(_lines(path)).decode("utf-8-sig", errors="surrogateescape")
    if not text.strip():
        raise UserError("data", "the file is empty.", str(path), "Give a JSON list of objects.")
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        raise UserError("data", f"bad JSON: {error.msg}.", f"{path}:{error.lineno}:{error.colno}", PER_LINE) from None
    except (ValueError, RecursionError) as error:
        raise UserError("data", f"JSON that cannot be read: {error}.", str(path), PER_LINE) from None
    if not isinstance(value, list):
        raise UserError("data", "the file does not hold a list.", str(path), f"Give a JSON list of objects. {PER_LINE}")
    return value


def _recognise_file(path: Path, first: list[_Parsed | Reject]) -> str:
    """The format of most of the first rows."""
    rows = [item.row for item in first if isinstance(item, _Parsed)]
    names = [name for name in map(recognise, rows) if name]
    if names:
        return Counter(names).most_common(1)[0][0]
    if not rows:
        problem = next(item.detail for item in first if isinstance(item, Reject))
        raise UserError("data", f"none of the first rows can be read: {problem}", str(path), PER_LINE)
    seen = ", ".join(repr(field) for field in sorted(set().union(*rows))[:20]) or "none"
    what = f"the format cannot be recognised. Fields seen: {seen}."
    raise UserError("data", what, str(path), f"Known formats: {_known_formats()}.")


def _known_formats() -> str:
    listed = []
    for name, known in FORMATS.items():
        fields = " or ".join("{" + ", ".join(fields) + "}" for fields in known.required)
        listed.append(f"{name} {fields}" + ("" if known.guessed else " (only where it is named)"))
    return "; ".join(listed)


def _convert_all(rows: Iterator[_Parsed | Reject], name: str, strict: bool) -> Iterator[Record | Reject]:
    """Each row as a record. Ids are unique in a file, for randomness and every later join go by them."""
    places: dict[str, _Place] = {}
    for item in rows:
        record = item if isinstance(item, Reject) else _convert(item, name, strict)
        if isinstance(item, Reject) or isinstance(record, Reject):
            yield record
        elif record.id in places:
            yield item.place.bad("duplicate-id", f"id {record.id!r} is already that of {places[record.id]}.")
        else:
            places[record.id] = item.place
            yield record


def _convert(item: _Parsed, name: str, strict: bool) -> Record | Reject:
    """One row as a record. `strict`: a row that is plainly of another format is bad, not read in part."""
    place, row = item.place, item.row
    stem = place.path.name.removesuffix(".gz").rpartition(".")[0]
    try:
        if strict and recognise(row) not in (None, name):
            raise BadRow("other-format", f"this is a {recognise(row)} row in a {name} file.")
        record = FORMATS[name].convert(row, record_id(row, f"{stem}-{place.number:06d}"))
    except BadRow as error:
        return place.bad(error.reason, error.detail)
    except UserError as error:
        return place.bad("span", str(error))
    if isinstance(record, QARecord | CorruptionRecord) and not record.source:
        return replace(record, source=place.path.name)
    return record
