"""Edits, their inverses and their spans, on text with emoji, CRLF, tabs and repeated pieces."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline import spans
from pipeline.failures import UserError
from pipeline.spans import Edit, Span, edit_at

TEXT = st.text(st.sampled_from("ab\t\r\n 🎉é👩‍💻n+1"), max_size=40)


@st.composite
def text_and_edits(draw: st.DrawFn) -> tuple[str, list[Edit]]:
    text = draw(TEXT)
    cuts = sorted(draw(st.lists(st.integers(0, len(text)), max_size=6)))
    places = list(zip(cuts[::2], cuts[1::2], strict=False))
    return text, [edit_at(text, start, end, draw(TEXT), "t") for start, end in places]


@given(text_and_edits())
def test_the_inverse_restores_the_original(case: tuple[str, list[Edit]]) -> None:
    text, edits = case
    assert spans.apply(spans.inverse(edits, text), spans.apply(edits, text)) == text


@given(text_and_edits())
def test_spans_show_their_text_on_both_sides(case: tuple[str, list[Edit]]) -> None:
    text, edits = case
    bad = spans.apply(edits, text)
    chosen, rejected = spans.spans_of(edits, text)
    assert len(chosen) == len(rejected) == len(edits)
    for span in chosen:
        assert text[span.start : span.end] == span.text
    for span in rejected:
        assert bad[span.start : span.end] == span.text


def test_a_hand_made_pair() -> None:
    text = "🎉 range(n), range(n)\r\n"
    edits = [edit_at(text, 9, 9, " + 1", "off"), edit_at(text, 12, 17, "span", "off")]
    assert text[9] == ")" and text[12:17] == "range"
    assert spans.apply(edits, text) == "🎉 range(n + 1), span(n)\r\n"
    chosen, rejected = spans.spans_of(edits, text)
    assert chosen == [Span(9, 9, "off", ""), Span(12, 17, "off", "range")]
    assert rejected == [Span(9, 13, "off", " + 1"), Span(16, 20, "off", "span")]


def test_overlapping_and_stale_edits_are_refused() -> None:
    with pytest.raises(ValueError, match="overlaps"):
        spans.apply([edit_at("abcd", 0, 2, "x"), edit_at("abcd", 1, 3, "y")], "abcd")
    with pytest.raises(ValueError, match="expects"):
        spans.apply([Edit(0, 1, "z", "x")], "abcd")


def test_a_span_that_shows_something_else_is_a_data_error() -> None:
    with pytest.raises(UserError, match="should read 'b'"):
        Span(0, 1, "t", "b").check("abc", "row 1")
    with pytest.raises(UserError, match="outside"):
        Span(0, 9, "t", "abc").check("abc", "row 1")
