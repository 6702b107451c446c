"""Where quoted texts stand, and edits cut down to what they change."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline import spans
from pipeline.quotes import carried, locate, trimmed
from pipeline.spans import Edit, edit_at

TEXT = "for i in range(n):\n    total += i\nfor j in range(n):\n    total -= j\n"


@pytest.mark.parametrize(
    ("quote", "context", "expected"),
    [
        ("total += i", "", (23, 33)),
        ("range(n)", "for j in range(n)", (43, 51)),
        ("range(n)", "for j  in\nrange(n)", (43, 51)),
        ("for i in range(n): total += i", "", (0, 33)),
        ("  total\t+= i ", "", (23, 33)),
        ("", "", "is empty"),
        ("while", "", "'while' does not occur"),
        ("range(n)", "", "occurs 2 times in the answer, and no context"),
        ("range(n)", "in range", "its context 2 times"),
        ("range(n)", "while", "its context not at all"),
        ("range(n)", TEXT, "occurs 2 times in its context"),
        ("range(n)", "total += i", "occurs 0 times in its context"),
        (" \n ", "", "does not occur"),
    ],
)
def test_a_quote_is_found_in_one_place_or_not_at_all(quote: str, context: str, expected: object) -> None:
    found = locate(quote, context, TEXT)
    assert expected in found if isinstance(found, str) and isinstance(expected, str) else found == expected


def test_places_that_overlap_are_several() -> None:
    assert "occurs 2 times" in str(locate("aa", "", "baaab"))


@given(st.text("ab \n.", min_size=1, max_size=12), st.text("ab \n.", max_size=4), st.text("ab \n.", max_size=4))
def test_what_is_found_reads_as_quoted(text: str, quote: str, context: str) -> None:
    found = locate(quote, context, text)
    if isinstance(found, tuple):
        assert text[slice(*found)].split() == quote.split()


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("if n < 1:", "if n <= 1:", Edit(6, 6, "", "=", "t")),
        ("return total", "return totals", Edit(7, 12, "total", "totals", "t")),
        ("a = b", "a = b", Edit(5, 5, "", "", "t")),
        ("import math\nx", "x", Edit(0, 12, "import math\n", "", "t")),
        ("aa", "aaa", Edit(0, 2, "aa", "aaa", "t")),
    ],
)
def test_an_edit_is_cut_down_to_what_changes_and_words_stay_whole(old: str, new: str, expected: Edit) -> None:
    assert trimmed(edit_at(old, 0, len(old), new, "t")) == expected


@given(st.text("ab =\n", max_size=10), st.text("ab =\n", max_size=10))
def test_a_trimmed_edit_does_the_same(old: str, new: str) -> None:
    edit = edit_at(f"<{old}>", 1, 1 + len(old), new)
    assert spans.apply([trimmed(edit)], f"<{old}>") == f"<{new}>"


def test_a_position_is_carried_over_edits() -> None:
    edits = [edit_at("abcdef", 1, 2, "XYZ"), edit_at("abcdef", 4, 4, "-")]
    assert spans.apply(edits, "abcdef") == "aXYZcd-ef"
    assert [carried(position, edits, "abcdef") for position in range(7)] == [0, 1, 4, 5, 6, 8, 9]
    assert carried(2, [edit_at("abcdef", 1, 4, "")], "abcdef") == 1
