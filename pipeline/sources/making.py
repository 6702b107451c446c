"""Rows from outside into a source's shards, in four steps that hold a few thousand rows at a time.

Read: rows are parsed and converted into scratch shards, with hashes of what they say. Judge: the costly checks, a task
for each scratch shard. Survey: what can only be said of all rows, on the hashes alone. Write: the rows that are left,
each into the shards of its split, and all others with their reasons.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.contract import Resources
from pipeline.records import REJECTED, Reject, table_of
from pipeline.shards import shard_name, shard_paths
from pipeline.sources.checks import Judge, question_of, texts_of, unusable
from pipeline.sources.files import Found, numbered
from pipeline.sources.similar import bands, copies, signatures
from pipeline.sources.survey import OUT, REPEATED, Decisions, Rows, digest
from pipeline.store import write_atomically, write_table

SCRATCH_ROWS = 4096
SCRATCH_CHARACTERS = 2**25
ALONE = 20_000
"""Up to so many rows are judged right here: Ray would take longer to start."""
ROWS, JUDGED = "rows", "judged"
HASHES = ("_id", "_texts", "_prompt", "_draw")
BESIDES = pa.schema(
    [("_place", pa.string()), ("_given", pa.bool_()), ("_size", pa.int64()), *((name, pa.uint64()) for name in HASHES)]
)
VERDICT = pa.schema([("row", pa.int64()), ("reason", pa.string()), ("detail", pa.string())])


class ShardWriter:
    """Shards of so many rows each, out of tables of any length; an empty one where nothing comes."""

    def __init__(self, directory: Path, schema: pa.Schema, rows: int) -> None:
        self.directory, self.schema, self.rows = directory, schema, rows
        self.pending: list[pa.Table] = []
        self.waiting = self.written = self.shards = 0

    def add(self, table: pa.Table) -> None:
        self.pending.append(table)
        self.waiting += table.num_rows
        while self.waiting >= self.rows:
            self._write(self.rows)

    def close(self) -> int:
        """Write what is left; how many rows there are in all."""
        if self.waiting or not self.shards:
            self._write(self.waiting)
        return self.written

    def _write(self, rows: int) -> None:
        whole = pa.concat_tables([self.schema.empty_table(), *self.pending])
        write_table(self.directory / shard_name(self.shards), whole.slice(0, rows).combine_chunks())
        self.pending = [whole.slice(rows)]
        self.waiting -= rows
        self.written += rows
        self.shards += 1


@dataclass
class Scratch:
    """What was read: shards of records with their hashes, rejects in the order in which they came, and their counts."""

    directory: Path
    record: Any
    reasons: Counter[str]
    first: dict[str, str]
    refused: int = 0

    @property
    def shards(self) -> list[Path]:
        return shard_paths(self.directory / ROWS)

    @property
    def columns(self) -> list[str]:
        return list(self.record.SCHEMA.names)

    def judged(self, shard: Path, what: str) -> Path:
        """What step two says of a scratch shard."""
        return self.directory / JUDGED / f"{shard.stem}.{what}"

    def verdicts(self, shard: Path) -> pa.Table:
        """What the judges left out of a scratch shard; nothing where nobody was asked."""
        path = self.judged(shard, "verdicts.parquet")
        return pq.read_table(path) if path.exists() else VERDICT.empty_table()

    def survey_rows(self) -> Rows:
        named = [*HASHES, "_given", "_size"]
        table = pq.read_table(self.shards, columns=named) if self.shards else BESIDES.empty_table()
        return Rows(*(table[name].to_numpy() for name in named))

    @cached_property
    def names(self) -> pa.Table:
        """Ids and places, for what is said of rows that others stand for."""
        return pq.read_table(self.shards, columns=["id", "_place"])

    def count(self, reason: str, detail: str, rows: int = 1) -> None:
        self.reasons[reason] += rows
        self.first.setdefault(reason, detail)


def read_in(found: Iterator[Found | Reject], directory: Path, seed: int, longest: int, progress: Any) -> Scratch:
    """Step one: every row into scratch shards, what cannot be used into others."""
    shutil.rmtree(directory, ignore_errors=True)
    scratch = Scratch(directory, None, Counter(), {})
    rejects = ShardWriter(directory / "rejected", REJECTED, SCRATCH_ROWS)
    held: list[Found] = []
    refused: list[Reject] = []
    characters = shards = 0
    for read, item in enumerate(found, start=1):
        bad = item if isinstance(item, Reject) else _unusable(item, longest)
        if bad:
            scratch.count(bad.reason, bad.detail)
            refused.append(bad)
            scratch.refused += 1
        elif isinstance(item, Found):
            held.append(item)
            characters += sum(map(len, texts_of(item.record)))
        if len(held) >= SCRATCH_ROWS or characters >= SCRATCH_CHARACTERS:
            _write_scratch(scratch, held, shards, seed)
            held, characters, shards = [], 0, shards + 1
            progress(read, read, "rows read")
        if len(refused) >= SCRATCH_ROWS:
            rejects.add(table_of(refused, REJECTED))
            refused = []
    if held:
        _write_scratch(scratch, held, shards, seed)
    rejects.add(table_of(refused, REJECTED))
    rejects.close()
    return scratch


def _unusable(item: Found, longest: int) -> Reject | None:
    found = unusable(item.record, longest)
    return item.place.bad(*found) if found else None


def _write_scratch(scratch: Scratch, held: Sequence[Found], number: int, seed: int) -> None:
    scratch.record = type(held[0].record)
    table = table_of([item.record for item in held], scratch.record.SCHEMA)
    besides = pa.Table.from_pylist([_besides(item, seed) for item in held], schema=BESIDES)
    for name in besides.schema.names:
        table = table.append_column(besides.schema.field(name), besides[name])
    write_table(scratch.directory / ROWS / shard_name(number), table)


def _besides(item: Found, seed: int) -> dict[str, Any]:
    record, texts = item.record, texts_of(item.record)
    return {
        "_place": item.place.id,
        "_given": item.given,
        "_size": sum(map(len, texts)),
        "_id": digest(record.id),
        "_texts": digest("\0".join(texts)),
        "_prompt": digest(f"{seed}:{question_of(record)}"),
        "_draw": digest(f"{seed}:rows:{record.id}"),
    }


@dataclass(frozen=True)
class JudgeShard:
    """Step two, for one scratch shard: verdicts, and signatures with their bands where near copies are looked for."""

    record: Any
    judge: Judge
    similarity: float | None

    def __call__(self, path: Path) -> dict[str, Any]:
        columns, target = list(self.record.SCHEMA.names), path.parent.parent / JUDGED / path.stem
        found = [self.record.from_row(row) for row in pq.read_table(path, columns=columns).to_pylist()]
        verdicts = [(row, *seen) for row, record in enumerate(found) if (seen := self.judge(record))]
        rows = [dict(zip(VERDICT.names, verdict, strict=True)) for verdict in verdicts]
        if self.similarity is not None:
            made = signatures(["\n".join(texts_of(record)) for record in found])
            _save(target.with_suffix(".signatures.npy"), made)
            _save(target.with_suffix(".bands.npy"), bands(made, self.similarity))
        write_table(target.with_suffix(".verdicts.parquet"), pa.Table.from_pylist(rows, schema=VERDICT))
        return {"rows": len(found)}


def _save(path: Path, values: Any) -> None:
    def write(temporary: Path) -> None:
        with temporary.open("wb") as file:
            np.save(file, values)

    write_atomically(path, write)


def judge_all(scratch: Scratch, judge: JudgeShard, rows: int) -> None:
    """Step two, where anything is asked: here if there are few rows, else in Ray tasks."""
    if not judge.judge and judge.similarity is None:
        return
    if rows <= ALONE:
        for path in scratch.shards:
            judge(path)
        return
    from pipeline.runner import for_each

    for _ in for_each(scratch.shards, judge, Resources()):
        pass


def decided(scratch: Scratch, rows: Rows) -> Decisions:
    """The decisions that the judges' verdicts begin with."""
    decisions, start = Decisions(len(rows)), 0
    for path in scratch.shards:
        verdicts = scratch.verdicts(path)
        decisions.side[start + verdicts["row"].to_numpy()] = OUT
        for item in verdicts["reason"].value_counts().to_pylist():
            scratch.count(item["values"], verdicts["detail"][0].as_py(), item["counts"])
        start += pq.read_metadata(path).num_rows
    return decisions


def near_copies(scratch: Scratch, rows: Rows, decisions: Decisions, similarity: float) -> None:
    """Step three, near copies: of each cluster the row whose id has the lowest hash is kept."""
    alive = decisions.alive
    banded = np.concatenate([np.load(scratch.judged(path, "bands.npy")) for path in scratch.shards])[alive]
    files = [np.load(scratch.judged(path, "signatures.npy"), mmap_mode="r") for path in scratch.shards]
    starts = np.cumsum([0, *map(len, files)])

    def signatures_of(places: Any) -> Any:
        wanted = alive[places]
        shards = np.searchsorted(starts, wanted, side="right") - 1
        return np.stack([files[shard][row - starts[shard]] for shard, row in zip(shards, wanted, strict=True)])

    decisions.leave_out("near-duplicate", alive[copies(banded, rows.id[alive], similarity, signatures_of)], alive)


def write_out(
    scratch: Scratch, decisions: Decisions, targets: Sequence[ShardWriter], rejects: ShardWriter, progress: Any
) -> None:
    """Step four: each row to the writer of its side, what is out with its reason."""
    for path in shard_paths(scratch.directory / "rejected"):
        rejects.add(pq.read_table(path, schema=REJECTED))
    start = 0
    for path in scratch.shards:
        table = _renumbered(pq.read_table(path), decisions.copy, start)
        side = decisions.side[start : start + table.num_rows]
        for number, target in enumerate(targets):
            target.add(table.filter(pa.array(side == number)).select(scratch.columns))
        out = _refused(scratch, path, table) + _repeated(scratch, decisions, start, table)
        rejects.add(table_of(out, REJECTED))
        start += table.num_rows
        progress(start, len(decisions.side), "rows")


def _refused(scratch: Scratch, path: Path, table: pa.Table) -> list[Reject]:
    """What the judges left out of one scratch shard."""
    return [
        Reject(table["id"][said["row"]].as_py(), said["reason"], f"{table['_place'][said['row']]}: {said['detail']}")
        for said in scratch.verdicts(path).to_pylist()
    ]


def _repeated(scratch: Scratch, decisions: Decisions, start: int, table: pa.Table) -> list[Reject]:
    """What other rows stand for, of one scratch shard."""
    because = decisions.because[start : start + table.num_rows]
    rejects = []
    for row in map(int, np.flatnonzero(because >= 0)):
        reason = REPEATED[decisions.reason[start + row]]
        id, place = table["id"][row].as_py(), table["_place"][row].as_py()
        kept, there = (scratch.names[name][int(because[row])].as_py() for name in ("id", "_place"))
        if reason == "duplicate-id":
            rejects.append(Reject(place, reason, f"{place}: id {id!r} is also that of {there}, which is kept."))
        else:
            how = "has the same prompt and answers as" if reason == "duplicate" else "is nearly the same as"
            rejects.append(Reject(id, reason, f"{place}: it {how} {kept!r} ({there}), which is kept."))
    return rejects


def _renumbered(table: pa.Table, copy: dict[int, int], start: int) -> pa.Table:
    """The table with a number on the ids of rows whose content came before."""
    changed = [row for row in range(table.num_rows) if start + row in copy]
    if not changed:
        return table
    ids = table["id"].to_pylist()
    for row in changed:
        ids[row] = numbered(ids[row], copy[start + row])
    return table.set_column(table.schema.get_field_index("id"), "id", pa.array(ids, pa.string()))
