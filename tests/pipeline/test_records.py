"""Records: what is written is what is read, and what does not hold together is refused."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.failures import UserError
from pipeline.records import (
    REJECTED,
    CorruptionRecord,
    FunctionTest,
    GenerationRecord,
    PreferenceRecord,
    QARecord,
    Reject,
    ScoredRecord,
    ScoreRecord,
    table_of,
)
from pipeline.spans import Edit, Span, apply, spans_of

TEXT = st.text(st.one_of(st.characters(exclude_categories=["Cs"]), st.sampled_from("ab \n👩‍🔬🇩🇪é\u0301")), max_size=20)
NAMES = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
COUNTS = st.integers(0, 2**63 - 1)
TESTS = st.lists(st.builds(FunctionTest, NAMES, NAMES, NAMES, NAMES), max_size=2).map(tuple)


@st.composite
def spans_in(draw, text):
    start, end = sorted(draw(st.tuples(*[st.integers(0, len(text))] * 2)))
    return Span(start, end, draw(NAMES), text[start:end], draw(st.floats(0, 10)))


@st.composite
def edits_of(draw, text):
    """Edits of a text that do not overlap."""
    cuts = sorted(draw(st.lists(st.integers(0, len(text)), max_size=6).filter(lambda cuts: len(cuts) % 2 == 0)))
    places = zip(cuts[::2], cuts[1::2], strict=True)
    return tuple(Edit(start, end, text[start:end], draw(TEXT), draw(NAMES)) for start, end in places)


@st.composite
def corruptions(draw):
    response = draw(TEXT)
    edits = draw(edits_of(response))
    return CorruptionRecord(draw(NAMES), draw(TEXT), response, apply(edits, response), edits, draw(NAMES), draw(TESTS))


@st.composite
def preferences(draw):
    sides = draw(TEXT), draw(TEXT)
    marked = [tuple(draw(st.lists(spans_in(side), max_size=3))) for side in sides]
    return PreferenceRecord(draw(NAMES), draw(TEXT), *sides, *marked, draw(NAMES))


@st.composite
def scored(draw):
    name = draw(NAMES)
    values = st.one_of(st.none(), st.floats(allow_nan=False))
    scores = draw(st.lists(st.builds(ScoreRecord, st.just(name), NAMES, values, TEXT), max_size=3))
    return ScoredRecord(name, tuple(scores), draw(COUNTS))


RECORDS = {
    QARecord: st.builds(QARecord, NAMES, TEXT, TEXT, NAMES, TESTS),
    CorruptionRecord: corruptions(),
    PreferenceRecord: preferences(),
    GenerationRecord: st.builds(GenerationRecord, NAMES, TEXT, TEXT, NAMES, COUNTS, COUNTS, TEXT, NAMES, TESTS, COUNTS),
    ScoredRecord: scored(),
}


@pytest.mark.parametrize("kind", RECORDS, ids=lambda kind: kind.__name__)
def test_records_go_through_parquet_unchanged(kind):
    @settings(max_examples=40)
    @given(st.lists(RECORDS[kind], max_size=3))
    def check(records):
        table = table_of(records, kind.SCHEMA)
        table.validate(full=True)
        sink = pa.BufferOutputStream()
        pq.write_table(table, sink)
        found = pq.read_table(pa.BufferReader(sink.getvalue()))
        assert found.schema.equals(kind.SCHEMA)
        assert [kind.from_row(row) for row in found.to_pylist()] == records

    check()


def test_rejects_have_an_id_a_reason_and_what_was_seen():
    table = table_of([Reject("a", "too-long", "900 tokens"), Reject("b", "empty")], REJECTED)
    assert table.to_pylist() == [
        {"id": "a", "reason": "too-long", "detail": "900 tokens"},
        {"id": "b", "reason": "empty", "detail": ""},
    ]


def test_no_records_give_an_empty_table_of_the_schema():
    table = table_of([], QARecord.SCHEMA)
    assert (table.num_rows, table.schema) == (0, QARecord.SCHEMA)


def test_unscored_is_not_zero():
    record = ScoredRecord("a", (ScoreRecord("a", "execution", None), ScoreRecord("a", "errors", 0.0)))
    values = [score["value"] for score in table_of([record], ScoredRecord.SCHEMA).to_pylist()[0]["scores"]]
    assert values == [None, 0.0]
    assert values[0] is None


def test_a_record_cannot_be_changed():
    record = QARecord("a", "b", "c", "d")
    with pytest.raises(AttributeError):
        record.response = "e"


def test_a_test_of_a_function_is_json_text():
    found = FunctionTest.of("half", 4, "é", expected=[2.0, None])
    assert found == FunctionTest("half", '[4, "\\u00e9"]', "[2.0, null]", "")
    assert FunctionTest.of("half", raises="TypeError") == FunctionTest("half", "[]", "null", "TypeError")


# Corruptions


def corruption(rejected, *edits):
    return CorruptionRecord("row-7", "?", "for i in range(n):", rejected, edits, "builtin")


def test_the_spans_of_a_corruption_follow_from_its_edits():
    record = corruption("for j in range(n - 1):", Edit(4, 5, "i", "j", "name"), Edit(16, 16, "", " - 1", "off-by-one"))
    chosen, rejected = record.spans()
    assert chosen == [Span(4, 5, "name", "i"), Span(16, 16, "off-by-one", "")]
    assert rejected == [Span(4, 5, "name", "j"), Span(16, 20, "off-by-one", " - 1")]


@pytest.mark.parametrize(
    ("rejected", "edit"),
    [
        ("for i in range(n):", Edit(15, 16, "n", "m")),
        ("for i in range(m): ", Edit(15, 16, "n", "m")),
        ("for i in range(m):", Edit(15, 16, "N", "m")),
        ("for i in range(m):", Edit(14, 15, "n", "m")),
        ("for i in range(n):x", Edit(19, 19, "", "x")),
        ("for i in range(n):", Edit(5, 4, "", "")),
    ],
)
def test_edits_that_do_not_lead_to_the_rejected_answer_are_refused(rejected, edit):
    with pytest.raises(ValueError, match="edit"):
        corruption(rejected, edit)


def test_edits_that_overlap_are_refused():
    with pytest.raises(ValueError, match="overlaps"):
        corruption("for i in range(m):", Edit(14, 16, "(n", "(m"), Edit(15, 16, "n", "m"))


def test_the_refusal_names_the_record():
    with pytest.raises(ValueError, match="row-7"):
        corruption("for i in range(m):", Edit(15, 16, "n", "k"))


@settings(max_examples=60)
@given(corruptions())
def test_both_sides_of_a_corruption_are_marked_where_they_say(record):
    chosen, rejected = spans_of(record.edits, record.response)
    for side, spans in ((record.response, chosen), (record.rejected, rejected)):
        assert [side[span.start : span.end] for span in spans] == [span.text for span in spans]
    assert [span.text for span in rejected] == [
        edit.new for edit in sorted(record.edits, key=lambda e: (e.start, e.end))
    ]


# Preferences


def pair(**spans):
    return PreferenceRecord("pair-7", "?", "👩‍🔬 a + b", "a - b", **spans)


@pytest.mark.parametrize("weight", [-0.1, float("nan"), float("inf")])
def test_a_weight_that_is_none_is_refused(weight):
    with pytest.raises(ValueError, match=r"pair-7: its weight is .*, and a weight is finite and not negative"):
        pair(weight=weight)


def test_spans_count_code_points():
    """The scientist is three code points (woman, joiner, microscope) and one glyph: `+` is the seventh character."""
    assert pair(chosen_spans=(Span(6, 7, "typo", "+"),)).chosen_spans[0].text == "+"


@pytest.mark.parametrize(
    ("side", "span"),
    [
        ("chosen", Span(4, 10, "typo", "a + b")),
        ("rejected", Span(2, 6, "typo", "- b")),
        ("rejected", Span(-3, -2, "typo", "-")),
        ("rejected", Span(3, 2, "typo", "")),
    ],
)
def test_a_span_outside_its_response_is_refused(side, span):
    with pytest.raises(UserError, match="lies outside its response") as caught:
        pair(**{f"{side}_spans": (span,)})
    assert caught.value.kind == "data"
    assert caught.value.where == f"record pair-7, {side}"
    assert caught.value.hint


@pytest.mark.parametrize(
    ("side", "span", "found"),
    [
        ("chosen", Span(2, 3, "typo", "+"), "🔬"),
        ("rejected", Span(2, 3, "typo", "+"), "-"),
        ("rejected", Span(2, 2, "typo", "-"), ""),
    ],
)
def test_a_span_with_another_text_is_refused(side, span, found):
    with pytest.raises(UserError, match="should read") as caught:
        pair(**{f"{side}_spans": (Span(0, 0, "typo", ""), span)})
    assert caught.value.where == f"record pair-7, {side}"
    assert f"the response reads {found!r}" in caught.value.what


def test_an_anchor_may_stand_at_either_end():
    assert len(pair(rejected_spans=(Span(0, 0, "x", ""), Span(5, 5, "x", ""))).rejected_spans) == 2


def test_rows_of_another_type_are_refused_with_what_they_lack(tmp_path):
    from pipeline.shards import read_shard, shard_paths, write_shards

    write_shards(tmp_path / "data", [QARecord("a", "b", "c", "d")], QARecord.SCHEMA, 10)
    with pytest.raises(UserError, match="PreferenceRecord rows are needed here") as caught:
        read_shard(shard_paths(tmp_path / "data")[0], PreferenceRecord)
    assert caught.value.kind == "data"
    assert caught.value.hint == "They lack chosen, rejected, chosen_spans, rejected_spans, provenance, weight."
