"""Answers as styled pieces of text: prose and fenced code, Python highlighted, bad places marked.

The page makes text nodes of the pieces, never markup, so nothing that a model wrote is ever read as HTML. Pieces carry
their text rather than positions: Python counts code points, browsers UTF-16 units.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any, Literal

from pygments.lexers.python import PythonLexer
from pygments.token import Comment, Keyword, Name, Number, Operator, String

from pipeline.errors.answers import PYTHON_TAGS, Block, blocks, lines_of

Piece = str | list[Any]
"""Plain text, ``[style, text]``, or ``[style, text, mark]`` with the number of the mark that covers it."""
Segment = tuple[Literal["prose", "code"], list[Piece]]
Mark = tuple[int, int]
"""Half-open, in code points of the whole answer; an empty one is a place where something is missing."""
Run = tuple[int, int, str]
"""A style on ``text[start:end]``."""

STYLES: tuple[tuple[Any, str], ...] = (
    (Comment, "c"),
    (String, "s"),
    (Number, "m"),
    (Operator.Word, "k"),
    (Keyword, "k"),
    (Name.Function, "f"),
    (Name.Class, "f"),
    (Name.Decorator, "d"),
    (Name.Builtin, "b"),
    (Name.Exception, "b"),
)
"""The first that a token belongs to gives its style in prompts.css."""
FENCE = "q"
INLINE = "i"
_INLINE = re.compile(r"`[^`\n]+`")
_LEXER = PythonLexer(ensurenl=False, stripnl=False)


def segments(text: str, marks: Sequence[Mark] = ()) -> list[Segment]:
    """The answer in order, as prose and code; joined, the pieces' texts are the answer."""
    found: list[Segment] = []
    reached = 0
    for start, end, runs in _fenced(text):
        if start > reached:
            found.append(("prose", pieces(text, reached, start, _inline(text, reached, start), marks)))
        found.append(("code", pieces(text, start, end, runs, marks, last=end == len(text))))
        reached = end
    if reached < len(text) or not found:
        found.append(("prose", pieces(text, reached, len(text), _inline(text, reached, len(text)), marks, last=True)))
    return found


def prose(text: str) -> list[Piece]:
    """Text without fences, such as a prompt's: inline code is styled."""
    return pieces(text, 0, len(text), _inline(text, 0, len(text)), ())


def pieces(
    text: str, start: int, end: int, runs: Sequence[Run], marks: Sequence[Mark], *, last: bool = False
) -> list[Piece]:
    """``text[start:end]`` cut where a style or a mark begins or ends. An empty mark at `end` belongs here if `last`."""
    limits = {start, end, *(place for run in runs for place in run[:2]), *(place for mark in marks for place in mark)}
    cuts = sorted(cut for cut in limits if start <= cut <= end)
    styles = _by_place(cuts, runs)
    found: list[Piece] = []
    for here, there in zip(cuts, [*cuts[1:], end], strict=True):
        if here < end or last:
            found += (["", "", number] for number, mark in enumerate(marks) if mark == (here, here))
        if here < there:
            found.append(_piece(text[here:there], styles.get(here, ""), _covering(marks, here)))
    return found


def _piece(text: str, style: str, mark: int | None) -> Piece:
    if mark is not None:
        return [style, text, mark]
    return [style, text] if style else text


def _covering(marks: Sequence[Mark], place: int) -> int | None:
    return next((number for number, (start, end) in enumerate(marks) if start <= place < end), None)


def _by_place(cuts: Sequence[int], runs: Sequence[Run]) -> dict[int, str]:
    """The style from each cut on. Runs are in order and do not overlap."""
    styles: dict[int, str] = {}
    left = iter(runs)
    run = next(left, None)
    for cut in cuts:
        while run is not None and run[1] <= cut:
            run = next(left, None)
        if run is not None and run[0] <= cut:
            styles[cut] = run[2]
    return styles


def _fenced(text: str) -> Iterator[tuple[int, int, list[Run]]]:
    """Each fenced block with its fences, and the styles within."""
    lines = lines_of(text)
    numbers = {line.start: number for number, line in enumerate(lines)}
    for block in blocks(text):
        if not block.lines:
            continue
        first, last = numbers[block.lines[0].start], numbers[block.lines[-1].start]
        opening, closing = lines[first - 1], lines[last + 1] if last + 1 < len(lines) else lines[last]
        runs = [(opening.start, opening.next, FENCE), *_highlighted(text, block)]
        if closing is not lines[last]:
            runs.append((closing.start, closing.next, FENCE))
        yield opening.start, closing.next, runs


def _highlighted(text: str, block: Block) -> list[Run]:
    if block.tag and block.tag not in PYTHON_TAGS:
        return []
    start, end = block.lines[0].start, block.lines[-1].next
    tokens = _LEXER.get_tokens_unprocessed(text[start:end])
    styled = ((start + place, start + place + len(value), _style(token)) for place, token, value in tokens)
    return [run for run in styled if run[2]]


def _style(token: Any) -> str:
    return next((style for kind, style in STYLES if token in kind), "")


def _inline(text: str, start: int, end: int) -> list[Run]:
    return [(*found.span(), INLINE) for found in _INLINE.finditer(text, start, end)]
