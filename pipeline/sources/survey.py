"""What can only be said of all rows together: repeated ids, copies, which rows are drawn, and who goes to which split.

All of it follows from hashes of what the rows say, never from their order or from how files are cut, and is held in
arrays: some 60 bytes a row, and 8 more for each band where near copies are looked for.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

Array = Any
Splits = Mapping[str, int | float]
"""Rows of each split: so many, or a share below 1."""
TRAIN = "train"
REST = 0
"""The side of all rows that no split takes."""
OUT, NOT_DRAWN = -1, -2
REPEATED = ("duplicate-id", "duplicate", "near-duplicate")
"""The reasons for which another row stands for one."""


def digest(text: str) -> int:
    """64 bits that stand for a text: two of a million rows share theirs with a chance of 3 in 100 million."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")


@dataclass(frozen=True)
class Rows:
    """One entry for each row, in the order of the stream; all but `given` and `size` are 64-bit hashes."""

    id: Array
    texts: Array
    prompt: Array
    draw: Array
    given: Array
    size: Array

    def __len__(self) -> int:
        return len(self.id)


class Decisions:
    """One entry for each row. `side` is the number of the split, `REST`, `OUT` or `NOT_DRAWN`; of a row that is out,
    `because` is the row that stands for it (-1: a judge's verdict says why). `copy` numbers rows of one content."""

    def __init__(self, rows: int) -> None:
        self.side = np.full(rows, REST, dtype=np.int32)
        self.because = np.full(rows, -1, dtype=np.int64)
        self.reason = np.zeros(rows, dtype=np.int8)
        self.copy: dict[int, int] = {}

    @property
    def alive(self) -> Array:
        return np.flatnonzero(self.side == REST)

    def leave_out(self, reason: str, stands_for: Array, rows: Array) -> None:
        """Leave out those of `rows` that another one stands for."""
        others = stands_for != rows
        self.side[rows[others]] = OUT
        self.reason[rows[others]] = REPEATED.index(reason)
        self.because[rows[others]] = stands_for[others]


def repeated_ids(rows: Rows, decisions: Decisions) -> None:
    """Of rows with one id of their own the one with the lowest hash is kept; ids made of content are numbered."""
    alive = decisions.alive
    own, made = alive[rows.given[alive]], alive[~rows.given[alive]]
    decisions.leave_out("duplicate-id", own[first_of(rows.id[own], rows.texts[own])], own)
    for group in _groups(rows.id[made]):
        decisions.copy.update({int(row): number for number, row in enumerate(made[group], start=1) if number > 1})


def exact_copies(rows: Rows, decisions: Decisions) -> None:
    """Of rows with the same prompt and answers the one whose id has the lowest hash is kept."""
    alive = decisions.alive
    decisions.leave_out("duplicate", alive[first_of(rows.texts[alive], rows.id[alive])], alive)


def first_of(keys: Array, rank: Array) -> Array:
    """For each entry the place of the lowest-ranking one with the same key; the earlier one where ranks are equal."""
    if not len(keys):
        return np.zeros(0, dtype=np.int64)
    order = np.lexsort((np.arange(len(keys)), rank, keys))
    starts = np.concatenate([[True], keys[order][1:] != keys[order][:-1]])
    first = np.empty(len(keys), dtype=np.int64)
    first[order] = order[np.flatnonzero(starts)][np.cumsum(starts) - 1]
    return first


def _groups(keys: Array) -> Iterator[Array]:
    """The places of each key that comes up more than once, in their order."""
    order = np.argsort(keys, kind="stable")
    cuts = np.flatnonzero(keys[order][1:] != keys[order][:-1]) + 1
    return (group for group in np.split(order, cuts) if len(group) > 1)


def draw(rows: Rows, decisions: Decisions, wanted: int) -> None:
    """Keep the `wanted` rows with the lowest hashes of their ids."""
    alive = decisions.alive
    order = np.lexsort((alive, rows.draw[alive]))
    decisions.side[alive[order[wanted:]]] = NOT_DRAWN


def split(rows: Rows, decisions: Decisions, splits: Splits) -> None:
    """Give every row the side of its prompt."""
    alive = decisions.alive
    decisions.side[alive] = sides(rows.prompt[alive], splits)


def sides(prompts: Array, splits: Splits) -> Array:
    """The side of each row by the hash of its prompt: 0 is the rest, the n-th split is n.

    A share takes the prompts whose hash lies in its part of all hashes, so more data moves no row. A number takes
    the prompts with the lowest hashes, so many rows or a few more, where rows share a prompt.
    """
    found = np.zeros(len(prompts), dtype=np.int32)
    if all(isinstance(size, float) for size in splits.values()):
        bounds = np.cumsum(list(splits.values())) * 2.0**64
        place = np.searchsorted(bounds, prompts.astype(np.float64), side="right")
        return np.where(place < len(splits), place + 1, REST).astype(np.int32)
    unique, inverse, counts = np.unique(prompts, return_inverse=True, return_counts=True)
    of_prompt, start, taken = np.zeros(len(unique), dtype=np.int32), 0, np.concatenate([[0], np.cumsum(counts)])
    for number, wanted in enumerate(splits.values(), start=1):
        end = int(np.searchsorted(taken, taken[start] + wanted)) if start < len(unique) else start
        of_prompt[start:end] = number
        start = min(end, len(unique))
    found[:] = of_prompt[inverse]
    return found
