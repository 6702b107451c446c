"""Spans and edits: where an answer differs, in Unicode code points.

A span is half-open and belongs to one response. An edit replaces ``good[start:end] == old`` by ``new``.
The spans of both sides follow from the edits by construction; nothing is ever searched for. Where two answers come
without edits, `pipeline.diffs` finds some that lead from one to the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from pipeline.failures import UserError

UNKNOWN = "unknown"
"""The error type of what comes without one."""


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
