"""Where two answers differ, when nothing else says so: edits with as little in them as can be read.

Both texts are cut into pieces. What stays outside the edits is a longest common subsequence of the pieces: exact, found
bit-parallel by rapidfuzz. Of the places that an insertion or deletion could have it takes one beside another change,
else one that makes it whole lines. Small remains between changes go with them: a rephrased passage is one span.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import accumulate, pairwise

import regex
from rapidfuzz.distance import LCSseq

from pipeline.spans import Edit, edit_at

PIECE = regex.compile(r" ?(?:\p{L}[\p{L}\p{M}]*|\p{N}+|(?:(?![\p{L}\p{N}\s_])\X)+)|\X")
"""What is compared: a word, a number or a run of signs, each with the space before it, as most tokenizers cut; else one
character as a reader sees it, such as a line feed, CRLF, a space more, or an underscore."""

FINE = regex.compile(r"\p{L}[\p{L}\p{M}]*|\p{N}+|\X")
"""What no edit cuts: a word, a number, one character as a reader sees it."""

CELLS = 250_000_000
"""Pieces of one text times pieces of the other that are compared exactly: 30 MB and some tenths of a second."""

RUN = 8
"""Longer texts are cut at runs of so many pieces that each of them has once, as patience diff cuts at lines."""

Point = tuple[int, int]
"""A position in the pieces of the good answer and one in those of the bad answer."""
Change = tuple[Point, Point]
"""The pieces between two points: those of the good answer become those of the bad one."""


def diff(good: str, bad: str, error_type: str = "") -> list[Edit]:
    """The edits that lead from `good` to `bad`, in order and apart from each other."""
    a, b = PIECE.findall(good), PIECE.findall(bad)
    in_good, in_bad = (list(accumulate(map(len, pieces), initial=0)) for pieces in (a, b))
    edits = [
        _trimmed(edit_at(good, in_good[i], in_good[k], bad[in_bad[j] : in_bad[m]], error_type), good)
        for (i, j), (k, m) in _moved_together(_changes(a, b), a, b)
    ]
    return _without_remains([edit for edit in edits if edit.old != edit.new], good)


def _changes(a: Sequence[str], b: Sequence[str]) -> list[Change]:
    """Where two sequences of pieces differ, in order."""
    numbers: dict[str, int] = {}
    x, y = ([numbers.setdefault(piece, len(numbers)) for piece in pieces] for pieces in (a, b))
    head = _alike(x, y)
    tail = _alike(x[head:][::-1], y[head:][::-1])
    whole = (head, head), (len(x) - tail, len(y) - tail)
    return [change for block in _blocks(x, y, whole) for change in _compared(x, y, block)]


def _alike(a: Sequence[object], b: Sequence[object]) -> int:
    """How many items two sequences have in common from their start on."""
    return next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))


def _compared(a: Sequence[int], b: Sequence[int], block: Change) -> Iterator[Change]:
    """The changes within a block. One that is too large to compare is one change."""
    (i, j), (k, m) = block
    if not _fits(*block):
        yield block
        return
    for step in LCSseq.opcodes(a[i:k], b[j:m]):
        if step.tag != "equal":
            yield (i + step.src_start, j + step.dest_start), (i + step.src_end, j + step.dest_end)


def _fits(start: Point, end: Point) -> bool:
    return (end[0] - start[0]) * (end[1] - start[1]) <= CELLS


def _blocks(a: Sequence[int], b: Sequence[int], whole: Change) -> Iterator[Change]:
    """`whole`, or where that is too large its parts between landmarks, as large as can be compared."""
    start, end = whole
    reached = start
    for point in [end] if _fits(start, end) else [*_landmarks(a, b, whole), end]:
        if reached != start and not _fits(start, point):
            yield start, reached
            start = reached
        reached = point
    yield start, reached


def _landmarks(a: Sequence[int], b: Sequence[int], whole: Change) -> list[Point]:
    """Where runs of pieces start that occur once on both sides: as many as have the same order there."""
    (i, j), (k, m) = whole
    in_a, in_b = _once(a[i:k]), _once(b[j:m])
    both = [(i + at, j + in_b[run]) for run, at in in_a.items() if run in in_b]
    same = [(x, y) for x, y in both if a[x : x + RUN] == b[y : y + RUN]]
    return [same[n] for n in _longest_increasing([y for _, y in same])]


def _once(items: Sequence[int]) -> dict[int, int]:
    """The hash of each run of items that occurs once, and where; in order."""
    runs = [hash(run) for run in zip(*(items[n:] for n in range(RUN)), strict=False)]
    counts = Counter(runs)
    return {run: at for at, run in enumerate(runs) if counts[run] == 1}


def _longest_increasing(values: Sequence[int]) -> list[int]:
    """The indices of a longest increasing subsequence of distinct values (patience sorting)."""
    tops: list[int] = []
    top_at: list[int] = []
    before = [-1] * len(values)
    for n, value in enumerate(values):
        pile = bisect_left(tops, value)
        before[n] = top_at[pile - 1] if pile else -1
        tops[pile : pile + 1], top_at[pile : pile + 1] = [value], [n]
    chain = [top_at[-1]] if top_at else []
    while chain and before[chain[-1]] >= 0:
        chain.append(before[chain[-1]])
    return chain[::-1]


def _moved_together(changes: Sequence[Change], a: Sequence[str], b: Sequence[str]) -> list[Change]:
    """The changes at the best of the places that each could have; those that then touch are one."""
    result: list[Change] = []
    for change, (following, _) in pairwise([*changes, ((len(a), len(b)), (0, 0))]):
        start, end = _placed(change, a, b, result[-1][1] if result else (0, 0), following)
        if result and start == result[-1][1]:
            start = result.pop()[0]
        result.append((start, end))
    return result


def _placed(change: Change, a: Sequence[str], b: Sequence[str], low: Point, high: Point) -> Change:
    """An insertion or deletion where it reads best between the changes that end at `low` and start at `high`."""
    (i, j), (k, m) = change
    if (i < k) == (j < m):
        return change
    pieces, start, end = (a, i, k) if i < k else (b, j, m)
    back, on = 0, 0
    while back < i - low[0] and pieces[start - back - 1] == pieces[end - back - 1]:
        back += 1
    while on < high[0] - k and pieces[start + on] == pieces[end + on]:
        on += 1

    def merit(by: int) -> tuple[bool, bool, int]:
        touches = 0 < low[0] == i + by or len(a) > high[0] == k + by
        return touches, start + by == 0 or pieces[start + by - 1].endswith("\n"), by

    by = max(range(-back, on + 1), key=merit)
    return (i + by, j + by), (k + by, m + by)


def _trimmed(edit: Edit, good: str) -> Edit:
    """The edit without what its two sides begin and end with alike."""
    old, new = FINE.findall(edit.old), FINE.findall(edit.new)
    head = _alike(old, new)
    tail = _alike(old[head:][::-1], new[head:][::-1])
    before, after = len("".join(old[:head])), len("".join(old[len(old) - tail :]))
    kept = edit.new[before : len(edit.new) - after]
    return edit_at(good, edit.start + before, edit.end - after, kept, edit.error_type)


def _without_remains(edits: Sequence[Edit], good: str) -> list[Edit]:
    """The edits, with those in one that only a remain keeps apart: a space, or part of a line half as long as either.

    On the pairs of DebugBench this leaves 2 % fewer edits and marks 1 % more tokens.
    """
    result: list[Edit] = []
    for edit in edits:
        if result:
            last, between = result[-1], good[result[-1].end : edit.start]
            half = min(max(len(side.old), len(side.new)) for side in (last, edit)) / 2
            if between == " " or ("\n" not in between and len(between) <= half):
                result.pop()
                edit = edit_at(good, last.start, edit.end, last.new + between + edit.new, edit.error_type)
        result.append(edit)
    return result
