"""Shards of records: Parquet files `part-00000.parquet` in a directory, read and written by record type."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.failures import UserError
from pipeline.records import table_of
from pipeline.store import write_table


def shard_name(index: int) -> str:
    return f"part-{index:05d}.parquet"


def shard_paths(directory: Path) -> list[Path]:
    """The shards of a directory in order."""
    return sorted(directory.glob("part-*.parquet"))


def count_rows(directory: Path) -> int:
    """Rows of all shards, from the Parquet footers."""
    return sum(pq.read_metadata(path).num_rows for path in shard_paths(directory))


def read_shard(path: Path, record: Any) -> list[Any]:
    """The records of one shard. Raises a data error where it holds records of another type."""
    table = pq.read_table(path)
    if not table.schema.equals(record.SCHEMA, check_metadata=False):
        missing = [name for name in record.SCHEMA.names if name not in table.schema.names]
        raise UserError(
            "data",
            f"{record.__name__} rows are needed here, but these have {', '.join(table.schema.names)}.",
            str(path.parent.parent),
            f"They lack {', '.join(missing)}." if missing else "Field types differ.",
        )
    return [record.from_row(row) for row in table.to_pylist()]


def record_type(directory: Path, known: Sequence[Any], where: str) -> Any:
    """Which of the `known` record types the rows of a directory are. Raises a data error where they are none."""
    paths = shard_paths(directory)
    names = pq.read_schema(paths[0]).names if paths else []
    for record in known:
        if record.SCHEMA.names == names:
            return record
    wanted = ", ".join(record.__name__ for record in known)
    raise UserError(
        "data", f"rows with {', '.join(names) or 'no fields'} cannot be used here.", where, f"Wanted: {wanted}."
    )


def read_records(directory: Path, record: Any, limit: int | None = None) -> Iterator[Any]:
    """The records of a directory in order, at most `limit`."""
    taken = 0
    for path in shard_paths(directory):
        for found in read_shard(path, record):
            if taken == limit:
                return
            taken += 1
            yield found


def write_shards(directory: Path, records: Sequence[Any], schema: pa.Schema, shard_rows: int) -> None:
    """Write records in shards of `shard_rows`; an empty sequence gives one empty shard."""
    for index, start in enumerate(range(0, max(len(records), 1), shard_rows)):
        write_table(directory / shard_name(index), table_of(records[start : start + shard_rows], schema))
