"""Reads rows of data files as records.

A row that cannot be used comes out as a `Reject`, its id FILE:LINE (in a .json file FILE:ITEM, in Parquet FILE:ROW,
from 1); only a file that cannot be used raises.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain, islice
from pathlib import Path
from typing import Any

from pipeline.failures import UserError, nearest
from pipeline.records import ChoiceRecord, CorruptionRecord, QARecord, Reject, Row
from pipeline.sources.formats import FORMATS, Record, asked, recognise, record_id
from pipeline.sources.origins import find
from pipeline.sources.parsing import PER_LINE
from pipeline.sources.places import Origin, Parsed, Place
from pipeline.sources.values import BadRow
from pipeline.store import canonical

AUTO = "auto"
FIRST_ROWS = 20
"""How many rows are looked at to recognise a source's format."""
NOT_CONTENT = ("id", "source", "provenance", "weight")
"""Fields that say where a row is from or how much it counts, not what it is."""
ID_DIGITS = 16


@dataclass(frozen=True, slots=True)
class Found:
    """A record, where it stood, and whether its id is its own (`given`) or made of its content."""

    record: Record
    place: Place
    given: bool


def fingerprint(origin: str | Path) -> str:
    """What the content of a source is known by: of one file the sha256 of its bytes, in hex."""
    return find(origin).fingerprint()


def read(origin: str | Path, format: str = AUTO, fields: Mapping[str, str] | None = None) -> Iterator[Record | Reject]:
    """Every row as a record, or as a `Reject` where it cannot be used; all records are of one type.

    The format is recognised from the first rows unless it is named; `fields` maps our names to the columns there. What
    cannot be read at all raises at once. Ids are unique: a row with the id of one before it is rejected. A row without
    an id gets one made of its content, and a number where the same content comes again.
    """
    return _unique(records(find(origin), format, fields))


def records(origin: Origin, format: str = AUTO, fields: Mapping[str, str] | None = None) -> Iterator[Found | Reject]:
    """As `read`, in constant memory: ids may repeat."""
    if format not in (AUTO, *FORMATS):
        raise UserError("config", f"there is no format '{format}'.", origin.where, nearest(format, [AUTO, *FORMATS]))
    rows = origin.rows()
    first = list(islice(rows, FIRST_ROWS))
    if not first:
        what = "the file has no rows." if origin.files == 1 else f"none of the {origin.files} files has rows."
        raise UserError("data", what, origin.where, "Give a file with at least one row.")
    if fields:
        _refuse_unknown_columns(origin.where, fields, first)
        first, rows = list(_renamed(first, fields)), _renamed(rows, fields)
    name = _recognise(origin.where, first) if format == AUTO else format
    return (
        item if isinstance(item, Reject) else _convert(item, name, origin.name, strict=format == AUTO)
        for item in chain(first, rows)
    )


def _unique(found: Iterator[Found | Reject]) -> Iterator[Record | Reject]:
    places: dict[str, Place] = {}
    copies: Counter[str] = Counter()
    for item in found:
        if isinstance(item, Reject):
            yield item
            continue
        id = item.record.id
        copies[id] += not item.given
        if item.given and id in places:
            yield item.place.bad("duplicate-id", f"id {id!r} is already that of {places[id]}.")
        else:
            places[id] = item.place
            yield replace(item.record, id=numbered(id, 1 if item.given else copies[id]))


def numbered(id: str, copy: int) -> str:
    """The id of the n-th row of one content."""
    return id if copy == 1 else f"{id}-{copy}"


def content_id(record: Record) -> str:
    """An id that the same row has wherever it stands: by its texts, spans, edits and tests."""
    row = record.to_row()
    text = canonical({name: value for name, value in row.items() if name not in NOT_CONTENT})
    return hashlib.sha256(text.encode()).hexdigest()[:ID_DIGITS]


def _refuse_unknown_columns(where: str, fields: Mapping[str, str], first: Sequence[Parsed | Reject]) -> None:
    """A column that none of the first rows has is misspelt."""
    rows = [item.row for item in first if isinstance(item, Parsed)]
    for ours, column in fields.items():
        if rows and not any(_has(row, column) for row in rows):
            known = sorted({name for row in rows for name in map(str, row)})
            what = f"there is no column '{column}' to take '{ours}' from."
            raise UserError("config", what, f"fields of {where}", nearest(column, known))


def _renamed(rows: Iterator[Any] | Sequence[Any], fields: Mapping[str, str]) -> Iterator[Parsed | Reject]:
    """The rows with the mapped fields alone, and the id where none is mapped."""
    for item in rows:
        if isinstance(item, Reject):
            yield item
            continue
        kept = {ours: _at(item.row, column) for ours, column in fields.items() if _has(item.row, column)}
        yield Parsed(item.place, kept if "id" in fields or "id" not in item.row else {"id": item.row["id"], **kept})


def _has(row: Row, column: str) -> bool:
    return column in row or (column.partition(".")[0] in row and _at(row, column) is not None)


def _at(row: Row, column: str) -> Any:
    """A column, or with dots a field within one: `answer.text`."""
    value: Any = row
    if column in row:
        return row[column]
    for step in column.split("."):
        value = value.get(step) if isinstance(value, dict) else None
    return value


def _recognise(where: str, first: Sequence[Parsed | Reject]) -> str:
    """The format of most of the first rows."""
    rows = [item.row for item in first if isinstance(item, Parsed)]
    names = [name for name in map(recognise, rows) if name]
    if names:
        return Counter(names).most_common(1)[0][0]
    if not rows:
        problem = next(item.detail for item in first if isinstance(item, Reject))
        raise UserError("data", f"none of the first rows can be read: {problem}", where, PER_LINE)
    seen = ", ".join(repr(field) for field in sorted(set().union(*rows))[:20]) or "none"
    what = f"the format cannot be recognised. Fields seen: {seen}."
    raise UserError("data", what, where, f"Map them with `fields`, or name a format: {_known_formats()}.")


def _known_formats() -> str:
    listed = []
    for name, known in FORMATS.items():
        fields = " or ".join("{" + ", ".join(fields) + "}" for fields in known.required)
        listed.append(f"{name} {fields}" + ("" if known.guessed else " (only where it is named)"))
    return "; ".join(listed)


def _convert(item: Parsed, name: str, source: str, strict: bool) -> Found | Reject:
    """One row as a record. `strict`: a row that is plainly of another format is bad, not read in part."""
    place, row = item.place, item.row
    try:
        if strict and recognise(row) not in (None, name):
            raise BadRow("other-format", f"this is a {recognise(row)} row in a {name} file.")
        known = FORMATS[asked(row, name)]
        id = record_id(row, "", known.id)
        record = known.convert(row, id)
        record = record if id else replace(record, id=content_id(record))
    except BadRow as error:
        return place.bad(error.reason, error.detail)
    except UserError as error:
        if error.kind == "environment":  # tests of benchmarks may have to be run to be read
            raise
        return place.bad("span", str(error))
    if isinstance(record, QARecord | CorruptionRecord | ChoiceRecord) and not record.source:
        record = replace(record, source=source)
    return Found(record, place, bool(id))
