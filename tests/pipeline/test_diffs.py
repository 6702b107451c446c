"""Where two answers differ: that it is right, that it is as little as can be, and that it reads well."""

import random
import time
from dataclasses import replace
from itertools import pairwise

import debugbench
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline import diffs, spans
from pipeline.diffs import diff
from pipeline.records import CorruptionRecord, PreferenceRecord
from pipeline.spans import Edit, Span
from pipeline.stages.annotate import NO_SPANS, AnnotateStage, marked

LETTERS = st.sampled_from(
    ["a", "b", " ", "  ", "\n", "\r\n", "\t", "🎉", "é", "e\u0301", "👩‍💻", "🇩🇪", "🇫🇷", ".", "(", ")", "_", "1", "x"]
)
TEXT = st.lists(LETTERS, max_size=40).map("".join)


def check(good, bad):
    """The edits lead there and back; the spans of each side are in order and apart; outside them nothing differs."""
    edits = diff(good, bad)
    assert spans.apply(edits, good) == bad
    assert spans.apply(spans.inverse(edits, good), bad) == good
    chosen, rejected = spans.spans_of(edits, good)
    for text, side in ((good, chosen), (bad, rejected)):
        assert all(text[span.start : span.end] == span.text for span in side)
        assert all(before.end < after.start for before, after in pairwise(side))
    assert outside(good, chosen) == outside(bad, rejected)
    assert all(a.text != b.text for a, b in zip(chosen, rejected, strict=True))
    return edits


def outside(text, side):
    """What stands between the spans of a side."""
    edges = [0, *(edge for span in side for edge in (span.start, span.end)), len(text)]
    return [text[start:end] for start, end in zip(edges[::2], edges[1::2], strict=True)]


def common(a, b):
    """The length of a longest common subsequence, by the textbook."""
    row = [0] * (len(b) + 1)
    for x in a:
        before, row = row, [0]
        for j, y in enumerate(b):
            row.append(before[j] + 1 if x == y else max(row[-1], before[j + 1]))
    return row[-1]


# Right


@settings(max_examples=400)
@given(TEXT, TEXT)
def test_edits_lead_from_one_text_to_the_other_and_spans_hold_all_that_differs(good, bad):
    check(good, bad)


@settings(max_examples=200)
@given(st.text(max_size=40), st.text(max_size=40))
def test_any_unicode_text(good, bad):
    check(good, bad)


@settings(max_examples=200)
@given(TEXT, TEXT)
def test_as_few_pieces_change_as_can_be(good, bad):
    a, b = diffs.PIECE.findall(good), diffs.PIECE.findall(bad)
    changes = diffs._moved_together(diffs._changes(a, b), a, b)
    changed = sum(k - i + m - j for (i, j), (k, m) in changes)
    assert changed == len(a) + len(b) - 2 * common(a, b)


@given(st.lists(st.integers(0, 30), unique=True, max_size=12))
def test_longest_increasing_subsequence(values):
    found = [values[n] for n in diffs._longest_increasing(values)]
    assert found == sorted(found)
    assert len(found) == common(values, sorted(values))


# As a reader would mark it

DEVELOPER, SCIENTIST = "\U0001f469\u200d\U0001f4bb", "\U0001f469\u200d\U0001f52c"
"""Two emoji of three code points each, of which they share two."""


@pytest.mark.parametrize(
    ("good", "bad", "expected"),
    [
        ("range(n)", "range(n + 1)", [(7, "", " + 1")]),
        ("one two three", "one 2 3", [(4, "two three", "2 3")]),  # only a space between: one
        ("a, b", "c, d", [(0, "a", "c"), (3, "b", "d")]),
        ("max_left", "max_right", [(4, "left", "right")]),
        ("persons", "person", [(0, "persons", "person")]),  # words are not cut
        ("x = 100", "x = 1000", [(4, "100", "1000")]),  # nor numbers
        ("f(x):\n", "f(x)\n", [(4, ":", "")]),
        ("cafe\u0301", "cafe", [(0, "cafe\u0301", "cafe")]),  # nor what a reader sees as one character
        (f"a{DEVELOPER}", f"a{SCIENTIST}", [(1, DEVELOPER, SCIENTIST)]),
        ("a\r\nb", "a\nb", [(1, "\r\n", "\n")]),
        ("    x", "        x", [(0, "", "    ")]),
        ("x", "x ", [(1, "", " ")]),
        ("", "x", [(0, "", "x")]),
        ("same", "same", []),
    ],
)  # fmt: skip
def test_by_hand(good, bad, expected):
    assert [(edit.start, edit.old, edit.new) for edit in check(good, bad)] == expected
    assert [(edit.new, edit.old) for edit in check(bad, good)] == [(old, new) for _, old, new in expected]


def test_a_line_too_many_is_a_whole_line():
    assert check("a\nb\n", "a\nx\nb\n") == [Edit(2, 2, "", "x\n")]
    twice = "    if a:\n        return 1\n    if b:\n        return 1\n    return 2\n"
    assert check(twice, twice.replace("    if b:\n        return 1\n", "")) == [
        Edit(27, 55 - 1, "    if b:\n        return 1\n", "")
    ]


def test_an_insertion_moves_to_the_change_beside_it():
    assert check("a a a b", "a a a a c") == [Edit(6, 7, "b", "a c")]


def test_small_remains_within_a_line_go_with_their_neighbours():
    assert [edit.old for edit in check("the quick brown fox", "the slow, old brown cow")] == ["quick", "fox"]
    assert [edit.old for edit in check("foundation(x) rests", "groundwork(x, weight) stands")] == [
        "foundation(x) rests"
    ]
    assert [edit.old for edit in check("foundation\n rests", "groundwork\n stands")] == ["foundation", "rests"]


# On pairs that nobody here wrote


@debugbench.needs_debugbench
def test_every_pair_of_debugbench_is_equal_outside_its_spans():
    assert len(debugbench.pairs()) == 400
    assert all(check(good, bad) for good, bad in debugbench.pairs())


@debugbench.needs_debugbench
def test_pairs_that_differ_in_white_space_alone_are_marked_in_white_space_alone():
    alike = [pair for pair in debugbench.pairs() if pair[0].split() == pair[1].split()]
    assert len(alike) >= 5
    for good, bad in alike:
        assert all(not (edit.old + edit.new).strip() for edit in check(good, bad))


# Large


def test_long_texts_are_cut_at_landmarks(monkeypatch):
    """The same edits as exact comparison gives, where the changes lie apart."""
    draw = random.Random(0)
    words = [draw.choice(["alpha", "beta", "gamma", "delta"]) for _ in range(3000)]
    other = [f"new{n}" if n % 100 == 50 else word for n, word in enumerate(words)]
    exact = check(" ".join(words), " ".join(other))
    monkeypatch.setattr(diffs, "CELLS", 40_000)
    assert check(" ".join(words), " ".join(other)) == exact
    assert len(exact) == 30


@settings(max_examples=100)
@given(st.lists(LETTERS, max_size=40), st.lists(LETTERS, max_size=40), st.integers(1, 200))
def test_a_bound_on_work_costs_no_exactness_of_the_result(good, bad, cells):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(diffs, "CELLS", cells)
        patch.setattr(diffs, "RUN", 2)
        check("".join(good), "".join(bad))


@pytest.mark.slow
def test_a_megabyte_ends_in_seconds():
    draw = random.Random(0)
    words = ["".join(draw.choices("abcdefgh", k=draw.randint(1, 9))) for _ in range(170_000)]
    other = [("changed" if draw.random() < 0.01 else word) for word in words]
    good, bad = " ".join(words), " ".join(other)
    assert len(good) > 950_000
    begun = time.process_time()
    edits = diff(good, bad)
    assert time.process_time() - begun < 20
    assert spans.apply(edits, good) == bad
    assert len(edits) > 1000
    assert sum(len(edit.old) for edit in edits) < 0.02 * len(good)


def test_long_texts_with_nothing_in_common_are_one_edit():
    good, bad = "a. " * 20_000, "b, " * 20_000
    assert len(check(good, bad)) == 1


# In a stage

BARE = PreferenceRecord("p", "Add.", "a + b", "a - b")
GIVEN = PreferenceRecord("g", "Add.", "a + b", "a - b", (), (Span(0, 1, "typo", "a"),))
BROKEN = CorruptionRecord("c", "Add.", "a + b", "a - b", (Edit(0, 5, "a + b", "a - b", "sign"),), "")


def test_a_pair_without_spans_is_marked_and_one_with_spans_is_left_alone():
    found = marked(BARE)
    assert found.chosen_spans == (Span(2, 3, "unknown", "+"),)
    assert found.rejected_spans == (Span(2, 3, "unknown", "-"),)
    assert marked(GIVEN) is GIVEN


def test_the_weight_of_a_row_stays_with_it():
    rows = [replace(BARE, weight=0.25), replace(GIVEN, weight=3.0), BROKEN]
    for by in ("auto", "diff"):
        kept, _ = AnnotateStage(by)(rows)
        assert [pair.weight for pair in kept] == [0.25, 3.0, 1.0]


def test_where_spans_come_from():
    kept, rejects = AnnotateStage("auto")([BARE, GIVEN, BROKEN])
    assert [pair.rejected_spans[0].text for pair in kept] == ["-", "a", "a - b"]
    assert rejects == []
    kept, rejects = AnnotateStage("given")([BARE, GIVEN, BROKEN])
    assert [pair.id for pair in kept] == ["g", "c"]
    assert [(row.id, row.reason) for row in rejects] == [("p", NO_SPANS)]
    kept, _ = AnnotateStage("diff")([BARE, GIVEN, BROKEN])
    assert [(s.text, s.error_type) for pair in kept for s in pair.rejected_spans] == [
        ("-", "unknown"),
        ("-", "typo"),
        ("-", "sign"),
    ]
