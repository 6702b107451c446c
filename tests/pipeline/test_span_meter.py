"""Agreement of annotations, by hand."""

import dataclasses
import math

import made_tokenizers as make
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.failures import UserError
from pipeline.records import PreferenceRecord
from pipeline.span_meter import BOTH, Counts, characters, compared, joined, tokens_of
from pipeline.spans import Span

GOOD, BAD = "for i in range(n):", "for i in range(n + 1):"


def pair(name, chosen=(), rejected=(), good=GOOD, bad=BAD):
    sides = (
        tuple(Span(start, end, error, text[start:end], *rest) for start, end, error, *rest in spans)
        for text, spans in ((good, chosen), (bad, rejected))
    )
    return PreferenceRecord(name, "Loop.", good, bad, *sides)


REFERENCE = [
    pair("p", [(16, 16, "off")], [(16, 20, "off")]),  # anchor; " + 1"
    pair("q", [(4, 5, "name")], [(4, 5, "name"), (16, 20, "off")]),
]
MEASURED = [
    pair("p", [(15, 17, "off")], [(17, 20, "off")]),
    pair("q", [], [(4, 5, "off"), (0, 3, "off")]),
]
PAIRS = list(zip(REFERENCE, MEASURED, strict=True))


def test_counts_by_hand():
    """Chosen p: 16 of 15, 16. Rejected p: 17-19 of 16-19. Chosen q: nothing of 4. Rejected q: 4 of 4, 16-19; 0-2."""
    found = compared(PAIRS, characters)
    assert found.sides["chosen"].pairs == (Counts(1, 1, 0), Counts(0, 0, 1))
    assert found.sides["rejected"].pairs == (Counts(3, 0, 1), Counts(1, 3, 4))
    assert found.sides[BOTH].pairs == (Counts(4, 1, 1), Counts(1, 3, 5))
    assert found.sides[BOTH].micro == Counts(5, 4, 6)


def test_figures_by_hand():
    both = compared(PAIRS, characters).sides[BOTH]
    assert (both.micro.precision, both.micro.recall, both.micro.f1) == (5 / 9, 5 / 11, 10 / 20)
    assert both.macro("precision") == pytest.approx((4 / 5 + 1 / 4) / 2)
    assert both.macro("recall") == pytest.approx((4 / 5 + 1 / 6) / 2)
    assert both.macro("f1") == pytest.approx((8 / 10 + 2 / 10) / 2)


def test_error_types_by_hand():
    """`name` is found in q's rejected answer, under another type; `off` has p's places, and q's 0-2 and 4 wrongly."""
    found = compared(PAIRS, characters)
    assert found.types["name"].micro == Counts(0, 0, 2)
    assert found.types["off"].micro == Counts(4, 1 + 4, 1 + 4)
    assert found.found == {"name": 1 / 2, "off": 4 / 9}


def test_what_has_no_denominator_is_no_figure():
    found = compared([(pair("p"), pair("p")), (pair("p"), pair("p", [(0, 3, "x")]))], characters).sides
    assert found["rejected"].micro.f1 is None
    assert found["rejected"].macro("f1") is None
    assert (found["chosen"].micro.precision, found["chosen"].micro.recall, found["chosen"].micro.f1) == (0, None, 0)
    assert found["chosen"].macro("precision") == 0  # of the one pair that has any


def test_anchors_stand_for_what_follows_them():
    assert characters("abc", [Span(1, 1, "", "")]) == {1}
    assert characters("abc", [Span(3, 3, "", "")]) == {3}
    assert characters("abc", [Span(0, 2, "", "ab"), Span(1, 2, "", "b")]) == {0, 1}
    assert characters("abc", [Span(0, 2, "", "ab", 0.0)]) == set()
    alike = compared([(pair("p", [(18, 18, "x")]), pair("p", [(18, 18, "x")]))], characters)
    assert alike.sides[BOTH].micro == Counts(1, 0, 0)


def test_tokens_by_hand():
    tokenizer = make.byte_level(["for i in range(n):", "x"] * 50, 400)
    tokenizer.add_tokens(["range"])
    text = "for range"
    assert tokenizer.tokenize(text)[-1] == "range"
    select = tokens_of(tokenizer)
    last = len(tokenizer.tokenize(text)) - 1
    assert select(text, [Span(6, 7, "", "n")]) == {last}
    assert select(text, [Span(9, 9, "", "")]) == {last + 1}  # EOS
    part, whole = pair("p", [(6, 7, "x")], good=text), pair("p", [(4, 9, "x")], good=text)
    assert compared([(part, whole)], select).sides["chosen"].micro == Counts(1, 0, 0)
    assert compared([(part, whole)], characters).sides["chosen"].micro == Counts(1, 4, 0)


SPANS = st.lists(
    st.tuples(st.integers(0, 18), st.integers(0, 18), st.sampled_from("xy")).map(
        lambda drawn: (min(drawn[:2]), max(drawn[:2]), drawn[2])
    ),
    max_size=3,
)


@given(SPANS, SPANS, SPANS, SPANS)
def test_laws(a, b, c, d):
    """Measured against itself an annotation is perfect; turned round, precision and recall change places."""
    one, two = pair("p", a, b), pair("p", c, d)
    same = compared([(one, one)], characters).sides[BOTH].micro
    assert same.f1 in (1.0, None)
    there, back = (compared([pair_], characters).sides[BOTH].micro for pair_ in ((one, two), (two, one)))
    assert (there.precision, there.recall, there.f1) == (back.recall, back.precision, back.f1)
    if there.precision and there.recall:
        harmonic = 2 * there.precision * there.recall / (there.precision + there.recall)
        assert math.isclose(there.f1, harmonic)


# Joining


def renamed(records, *names):
    return [dataclasses.replace(record, id=name) for record, name in zip(records, names, strict=True)]


OTHER = pair("z", good="x", bad="y")


def test_pairs_are_joined_by_id_else_by_their_texts():
    assert joined(REFERENCE, MEASURED[::-1]) == PAIRS
    three = [*REFERENCE[:1], OTHER]
    turned = renamed([OTHER, MEASURED[0]], "p", "z")  # ids that mean other pairs
    assert joined(three, turned) == [(three[0], turned[1]), (three[1], turned[0])]
    assert joined(REFERENCE, renamed(MEASURED, "1", "2")) == list(
        zip(REFERENCE, renamed(MEASURED, "1", "2"), strict=True)
    )


@pytest.mark.parametrize(
    ("other", "said"),
    [([OTHER], "of 2 and 1 pairs 0 match; the first that does not is 'p'"), (MEASURED[:1], "1 match.* is 'q'")],
)
def test_pairs_without_a_partner_are_an_error(other, said):
    with pytest.raises(UserError, match=said) as caught:
        joined(REFERENCE, other)
    assert caught.value.kind == "data"


def test_common_leaves_out_what_has_no_partner():
    assert joined(REFERENCE, [*MEASURED[1:], OTHER], common=True) == PAIRS[1:]
    with pytest.raises(UserError, match="0 match"):
        joined(REFERENCE, [OTHER], common=True)
