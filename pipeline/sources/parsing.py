"""Bytes to rows: JSON lines, JSON lists, CSV and Parquet, each streamed, so that a file may be larger than memory.

A row that cannot be parsed comes out as a `Reject`; only a file that cannot be read raises.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import zlib
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO, cast

from pipeline.failures import UserError
from pipeline.records import Reject, Row
from pipeline.sources.json_lists import items
from pipeline.sources.places import LONGEST_ROW, Parsed, Part, Place
from pipeline.sources.values import json_kind

PER_LINE = "A .jsonl file has one JSON object on each line; a JSON list belongs into a .json file."
STRUCTURED = ("tests", "edits", "chosen_spans", "rejected_spans", "masked_region", "masked_regions", "messages")
"""Fields that hold more than text. In a CSV file, whose cells are text, they are written as JSON."""
PARQUET_ROWS = 256
"""Rows decoded at a time."""


def rows_of(part: Part) -> Iterator[Parsed | Reject]:
    """Every row of one file, by its suffix."""
    parse = next(parse for suffix, parse in PARSERS.items() if part.name.removesuffix(".gz").endswith(suffix))
    try:
        with part.open() as raw:
            file = cast(BinaryIO, gzip.GzipFile(fileobj=raw)) if part.name.endswith(".gz") else raw
            yield from parse(part, file)
    except (OSError, EOFError, zlib.error, csv.Error) as error:
        raise unreadable(part, error) from error


def unreadable(part: Part, error: Exception) -> UserError:
    what = f"the file cannot be read to its end: {str(error).rstrip('.')}."
    return UserError("data", what, part.where, "Make or copy it anew.")


def _json_lines(part: Part, file: BinaryIO) -> Iterator[Parsed | Reject]:
    number = 0
    while line := file.readline(LONGEST_ROW):
        number += 1
        place = Place(part.name, number)
        if len(line) == LONGEST_ROW and not line.endswith(b"\n"):
            while line and not line.endswith(b"\n"):
                line = file.readline(LONGEST_ROW)
            yield place.bad("too-long", f"the line has more than {LONGEST_ROW:,} bytes.")
        elif line.strip():
            yield _parse_line(place, line)


def _parse_line(place: Place, line: bytes) -> Parsed | Reject:
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


def _json_list(part: Part, file: BinaryIO) -> Iterator[Parsed | Reject]:
    """The items of a list. Bytes that are not UTF-8 become lone surrogates, for which their rows are rejected."""
    try:
        for number, value in enumerate(items(_text(file)), start=1):
            yield _row(Place(part.name, number, "item"), value)
    except json.JSONDecodeError as error:
        where = f"{part.where}:{error.lineno}:{error.colno}"
        raise UserError("data", f"bad JSON: {error.msg}.", where, PER_LINE) from None
    except (ValueError, RecursionError) as error:
        raise UserError("data", f"JSON that cannot be read: {error}.", part.where, PER_LINE) from None
    except EOFError:
        raise UserError("data", "the file is empty.", part.where, "Give a JSON list of objects.") from None
    except TypeError as error:
        raise UserError("data", f"{error}.", part.where, f"Give a JSON list of objects. {PER_LINE}") from None


def _text(file: BinaryIO, newline: str | None = None) -> io.TextIOWrapper:
    return io.TextIOWrapper(file, encoding="utf-8-sig", errors="surrogateescape", newline=newline)


def _row(place: Place, value: Any) -> Parsed | Reject:
    if isinstance(value, dict):
        return Parsed(place, value)
    return place.bad("not-an-object", f"a row should be an object but is {json_kind(type(value))}.")


def _csv(part: Part, file: BinaryIO) -> Iterator[Parsed | Reject]:
    """Rows under the names of the first line. A row's number is the line that it ends on."""
    csv.field_size_limit(LONGEST_ROW)
    reader = csv.reader(_text(file, newline=""))
    names = next(reader, [])
    for cells in reader:
        place = Place(part.name, reader.line_num)
        if cells and len(cells) != len(names):
            yield place.bad("columns", f"the row has {len(cells)} cells and the first line {len(names)} names.")
        elif cells:
            yield _structured(place, dict(zip(names, cells, strict=True)))


def _structured(place: Place, row: Row) -> Parsed | Reject:
    for field in STRUCTURED:
        if field in row:
            try:
                row[field] = json.loads(row[field]) if row[field].strip() else None
            except (ValueError, RecursionError) as error:
                return place.bad("bad-json", f"column '{field}' should hold JSON: {error}.")
    return Parsed(place, row)


def _parquet(part: Part, file: BinaryIO) -> Iterator[Parsed | Reject]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        batches = pq.ParquetFile(file, buffer_size=2**20, pre_buffer=False).iter_batches(PARQUET_ROWS)
        yield from table_rows(part.name, batches)
    except pa.ArrowException as error:
        raise unreadable(part, error) from error


def table_rows(name: str, batches: Iterator[Any]) -> Iterator[Parsed | Reject]:
    """Rows of Arrow batches. Text that is not UTF-8 spoils its row only."""
    number = 0
    for batch in batches:
        for row in _decoded(batch):
            number += 1
            place = Place(name, number, "row")
            yield Parsed(place, row) if row is not None else place.bad("encoding", "it holds text that is not UTF-8.")


def _decoded(batch: Any) -> list[Row | None]:
    try:
        return list(batch.to_pylist())
    except UnicodeDecodeError:
        if batch.num_rows == 1:
            return [None]
        return [row for i in range(batch.num_rows) for row in _decoded(batch.slice(i, 1))]


PARSERS: dict[str, Callable[[Part, BinaryIO], Iterator[Parsed | Reject]]] = {
    ".jsonl": _json_lines,
    ".json": _json_list,
    ".csv": _csv,
    ".parquet": _parquet,
}
SUFFIXES = (".jsonl", ".jsonl.gz", ".json", ".json.gz", ".csv", ".csv.gz", ".parquet")
"""What can be read."""
