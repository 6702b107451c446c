"""Where a quoted text stands: exactly, or not at all. Models quote; spans need positions."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from itertools import takewhile

from pipeline.diffs import FINE
from pipeline.spans import Edit, apply, ordered

Place = tuple[int, int]


def locate(quote: str, context: str, text: str) -> Place | str:
    """The one place of `quote` in `text`, or why there is none: words that go back to whoever quoted.

    White space may differ from the text's where the quote is found in no other way. A quote that stands in several
    places is told apart by its `context`, a longer passage that stands in one.
    """
    if not quote:
        return "the quoted text is empty"
    places = _places(quote, text)
    if not places:
        return f"{_short(quote)} does not occur in the answer"
    if len(places) == 1:
        return places[0]
    if not context:
        return f"{_short(quote)} occurs {len(places)} times in the answer, and no context is given"
    outer = _places(context, text)
    if len(outer) != 1:
        times = f"{len(outer)} times" if outer else "not at all"
        return f"{_short(quote)} occurs {len(places)} times in the answer, and its context {times}"
    inner = [place for place in places if outer[0][0] <= place[0] and place[1] <= outer[0][1]]
    return inner[0] if len(inner) == 1 else f"{_short(quote)} occurs {len(inner)} times in its context"


def _places(quote: str, text: str) -> list[Place]:
    exact = [match.start() for match in re.finditer(f"(?={re.escape(quote)})", text)]
    if exact:
        return [(start, start + len(quote)) for start in exact]
    words = quote.split()
    return [match.span() for match in re.finditer(r"\s+".join(map(re.escape, words)), text)] if words else []


def _short(quote: str) -> str:
    return repr(quote if len(quote) <= 60 else f"{quote[:57]}...")


def trimmed(edit: Edit) -> Edit:
    """The edit without what its old and its new text have in common at both ends. Words are not cut."""
    old, new = FINE.findall(edit.old), FINE.findall(edit.new)
    head = _alike(old, new)
    tail = _alike(old[head:][::-1], new[head:][::-1])
    first, last = len("".join(old[:head])), len("".join(old[len(old) - tail :]))
    inner = edit.old[first : len(edit.old) - last]
    return replace(
        edit,
        start=edit.start + first,
        end=edit.end - last,
        old=inner,
        new="".join(new[head : len(new) - tail]),
    )


def _alike(a: Sequence[str], b: Sequence[str]) -> int:
    """How many pieces the two have in common from the start."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(a, b, strict=False)))


def carried(position: int, edits: Sequence[Edit], text: str) -> int:
    """Where a position of `text` is once the edits are made; within a replaced part, where that begins.

    A diff may say that ". New" was put before a full stop where " New." was put after it: so what stands before the
    position is looked for behind the place.
    """
    shift = 0
    for edit in ordered(edits, text):
        if edit.start >= position:
            break
        if edit.end > position:
            start, before = edit.start + shift, text[edit.start : position]
            return start + len(before) if apply(edits, text).startswith(before, start) else start
        shift += len(edit.new) - len(edit.old)
    return position + shift
