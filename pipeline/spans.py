"""Spans and edits: where an answer differs, in Unicode code points.

A span is half-open and belongs to one response. An edit replaces ``good[start:end] == old`` by ``new``.
The spans of both sides follow from the edits by construction; nothing is ever searched for. Where two answers come
without edits, `diff` finds some that lead from one to the other.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from difflib import SequenceMatcher
from itertools import accumulate

from pipeline.failures import UserError

UNKNOWN = "unknown"
"""The error type of what comes without one."""

PIECE = re.compile(r"\w+|\n|[^\S\n]+|[^\w\s]")
"""What a diff never cuts: a word, a line feed, other white space, a sign."""

COMPARED = 4_000_000
"""Pairs of pieces compared in one block at most: some seconds in the worst case. A larger block is one edit."""


@dataclass(frozen=True, slots=True)
class Span:
    """``response[start:end] == text``, half-open, in code points. ``start == end`` is an anchor."""

    start: int
    end: int
    error_type: str
    text: str
    weight: float = 1.0

    def check(self, response: str, where: str) -> None:
        """Raise a data error unless the span lies in `response` and shows `text` there."""
        if not 0 <= self.start <= self.end <= len(response):
            raise UserError(
                "data",
                f"span [{self.start}, {self.end}) lies outside its response of {len(response)} characters.",
                where,
                "Spans are half-open and count Unicode code points, not bytes.",
            )
        found = response[self.start : self.end]
        if found != self.text:
            raise UserError(
                "data",
                f"span [{self.start}, {self.end}) should read {self.text!r} but the response reads {found!r}.",
                where,
                "Spans count Unicode code points from the start of the response.",
            )


@dataclass(frozen=True, slots=True)
class Edit:
    """One replacement in the good answer: ``good[start:end] == old`` becomes ``new``.

    Edits that embed one error together share its number `error`, how it was verified (`level`), and what was seen
    (`evidence`).
    """

    start: int
    end: int
    old: str
    new: str
    error_type: str = ""
    error: int = 0
    level: str = ""
    evidence: str = ""


def edit_at(text: str, start: int, end: int, new: str, error_type: str = "") -> Edit:
    """The edit that replaces ``text[start:end]`` by `new`."""
    return Edit(start, end, text[start:end], new, error_type)


def ordered(edits: Sequence[Edit], text: str) -> list[Edit]:
    """The edits sorted by position, checked against `text` and against each other."""
    result = sorted(edits, key=lambda edit: (edit.start, edit.end))
    reached = 0
    for edit in result:
        if not reached <= edit.start <= edit.end <= len(text):
            raise ValueError(f"edit at [{edit.start}, {edit.end}) overlaps another edit or leaves the text")
        if text[edit.start : edit.end] != edit.old:
            raise ValueError(
                f"edit expects {edit.old!r} at {edit.start} but the text reads {text[edit.start : edit.end]!r}"
            )
        reached = edit.end
    return result


def apply(edits: Sequence[Edit], text: str) -> str:
    """`text` with every edit made at once; edits do not overlap."""
    pieces: list[str] = []
    reached = 0
    for edit in ordered(edits, text):
        pieces += [text[reached : edit.start], edit.new]
        reached = edit.end
    return "".join([*pieces, text[reached:]])


def inverse(edits: Sequence[Edit], text: str) -> list[Edit]:
    """The edits that lead back from ``apply(edits, text)`` to `text`."""
    result = []
    shift = 0
    for edit in ordered(edits, text):
        start = edit.start + shift
        result.append(replace(edit, start=start, end=start + len(edit.new), old=edit.new, new=edit.old))
        shift += len(edit.new) - len(edit.old)
    return result


def spans_of(edits: Sequence[Edit], text: str) -> tuple[list[Span], list[Span]]:
    """The spans of the chosen side (`text`) and of the rejected side, one of each per edit."""
    backward = inverse(edits, text)
    chosen = [Span(e.start, e.end, e.error_type, e.old) for e in ordered(edits, text)]
    rejected = [Span(e.start, e.end, e.error_type, e.old) for e in backward]
    return chosen, rejected


def diff(good: str, bad: str, error_type: str = "") -> list[Edit]:
    """Edits that lead from `good` to `bad`: lines first, then words within the lines that changed.

    Changes that only white space keeps apart are one edit, so that a rephrased passage is one span and no confetti.
    """
    changes: list[tuple[int, int, int, int]] = []
    for change in _changes(good, bad):
        if changes and not good[changes[-1][1] : change[0]].strip():
            change = (changes[-1][0], change[1], changes.pop()[2], change[3])
        changes.append(change)
    return [edit_at(good, start, end, bad[first:last], error_type) for start, end, first, last in changes]


def _changes(good: str, bad: str) -> Iterator[tuple[int, int, int, int]]:
    """Where words differ, as ``(start, end)`` in the good answer and in the bad one."""
    for start, end, first, last in _unequal(good.splitlines(True), bad.splitlines(True)):
        before, after = PIECE.findall(good[start:end]), PIECE.findall(bad[first:last])
        if len(before) * len(after) > COMPARED:
            yield start, end, first, last
        else:
            for a, b, c, d in _unequal(before, after):
                yield start + a, start + b, first + c, first + d


def _unequal(a: Sequence[str], b: Sequence[str]) -> Iterator[tuple[int, int, int, int]]:
    """The character positions of the blocks in which two texts, given in pieces, differ."""
    ends_a, ends_b = _ends(a), _ends(b)
    for tag, i1, i2, j1, j2 in SequenceMatcher(None, a, b, autojunk=False).get_opcodes():
        if tag != "equal":
            yield ends_a[i1], ends_a[i2], ends_b[j1], ends_b[j2]


def _ends(pieces: Sequence[str]) -> list[int]:
    return list(accumulate((len(piece) for piece in pieces), initial=0))
