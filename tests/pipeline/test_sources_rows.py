"""Rows of data files: every format, every way in which a row can be wrong, and exact round trips."""

import json
import tempfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from source_rows import CONTENT_ID, GRANULAR, MINUS, PLURAL, PLUS, PREFERENCE, QA, TRL, bad, jsonl, only, without_id

from pipeline.records import FunctionTest, PreferenceRecord, QARecord, Reject
from pipeline.sources.files import content_id, read
from pipeline.sources.formats import FORMATS, recognise, to_granular, to_response_level
from pipeline.spans import Span

# Formats


@pytest.mark.parametrize("names", [("prompt", "response"), ("question", "answer"), ("problem", "solution")])
def test_questions_and_answers_are_read_under_every_name(tmp_path, names):
    found = only(tmp_path, dict(zip(names, ("Add.", "a + b"), strict=True)))
    assert found == without_id(QARecord("", "Add.", "a + b", "data.jsonl"))


def test_a_row_with_two_sets_of_names_is_read_by_the_first_that_is_complete(tmp_path):
    found = only(tmp_path, {"problem": "1 + 1?", "solution": "We add: 2.", "answer": "2"})
    assert (found.prompt, found.response) == ("1 + 1?", "We add: 2.")


def test_tests_of_a_question_are_values_or_exceptions(tmp_path):
    tests = [
        {"function": "half", "arguments": [4], "expected": 2},
        {"function": "half", "arguments": [], "raises": "TypeError"},
        {"function": "half", "arguments": ["é"], "expected": None},
    ]
    assert only(tmp_path, {**QA, "tests": tests}).tests == (
        FunctionTest.of("half", 4, expected=2),
        FunctionTest.of("half", raises="TypeError"),
        FunctionTest.of("half", "é", expected=None),
    )


def test_the_row_names_its_id_and_source_where_it_has_them(tmp_path):
    rows = [{**QA, "id": "x-1", "source": "glaive"}, {**QA, "id": 7}, {**QA, "id": None, "source": None}]
    found = list(read(jsonl(tmp_path, *rows)))
    assert [record.id for record in found] == ["x-1", "7", content_id(found[2])]
    assert [record.source for record in found] == ["glaive", "data.jsonl", "data.jsonl"]


def test_preference_rows_take_missing_span_text_from_the_response(tmp_path):
    spans = [{"start": 0, "end": 1}, MINUS]
    found = only(tmp_path, {**PREFERENCE, "rejected_spans": spans, "provenance": "by hand"})
    assert found == without_id(
        PreferenceRecord(
            "",
            "Add.",
            "a + b",
            "a - b",
            (Span(2, 3, "unknown", "+"),),
            (Span(0, 1, "unknown", "a"), Span(2, 3, "typo", "-", 0.5)),
            "by hand",
        )
    )


def test_a_preference_row_may_mark_one_side_only(tmp_path):
    found = only(tmp_path, {**TRL, "rejected_spans": [MINUS]})
    assert (found.chosen_spans, found.rejected_spans) == ((), (Span(2, 3, "typo", "-", 0.5),))


HH = {"chosen": "\n\nHuman: Add.\n\nAssistant: a + b", "rejected": "\n\nHuman: Add.\n\nAssistant: a - b"}
LEVEL = {"prompt": "Add.", "winning_response": "a + b", "losing_response": "a - b"}
OFFSETS = {**TRL, "spans": [{"start": 2, "end": 3}]}


@pytest.mark.parametrize("row", [PREFERENCE, TRL, GRANULAR, PLURAL, LEVEL, OFFSETS, HH])
def test_a_pair_of_any_format_may_have_a_weight(tmp_path, row):
    assert only(tmp_path, {**row, "weight": 0.25}).weight == 0.25
    assert [only(tmp_path, {**row, **none}).weight for none in ({}, {"weight": None})] == [1.0, 1.0]
    assert only(tmp_path, {**row, "weight": 0}).weight == 0.0


def test_a_row_s_weight_is_not_what_it_says(tmp_path):
    """The id made of a row's content stays, so what is drawn for it stays too."""
    assert only(tmp_path, {**TRL, "weight": 3}).id == only(tmp_path, TRL).id


@pytest.mark.parametrize(
    ("weight", "said"),
    [
        (-0.5, "field 'weight' is -0.5, and a weight is finite and not negative."),
        (float("nan"), "field 'weight' is nan, and a weight is finite and not negative."),
        (float("inf"), "field 'weight' is inf, and a weight is finite and not negative."),
        (10**400, f"field 'weight' is {10**400}, and a weight is finite and not negative."),
        ("1e999", "field 'weight' is inf, and a weight is finite and not negative."),
        ("much", "field 'weight' should be a number but is text."),
        (True, "field 'weight' should be a number but is true or false."),
        ([1.0], "field 'weight' should be a number but is a list."),
    ],
)
def test_a_weight_that_is_none_is_told(tmp_path, weight, said):
    assert bad(tmp_path, {**TRL, "weight": weight}, good=TRL) == ("wrong-type", said)


def test_a_misspelt_weight_is_told_where_the_format_is_ours(tmp_path):
    said = "there is no field 'weights': did you mean 'weight'?"
    assert bad(tmp_path, {**PREFERENCE, "weights": 2}, good=PREFERENCE) == ("missing-field", said)


def test_a_csv_file_has_weights_as_text(tmp_path):
    path = tmp_path / "pairs.csv"
    path.write_text("prompt,chosen,rejected,weight\nAdd.,a + b,a - b,0.25\nTake.,a - b,a + b,\n")
    assert [record.weight for record in read(path)] == [0.25, 1.0]


def test_the_flag_of_a_masked_region_names_the_side(tmp_path):
    good, bad_side = Span(2, 3, "unknown", "+"), Span(2, 3, "unknown", "-")
    correct = only(tmp_path, {**GRANULAR, "masked_region": [2, 3, 1]})
    incorrect = only(tmp_path, GRANULAR)
    both = only(tmp_path, PLURAL)
    assert (correct.chosen_spans, correct.rejected_spans) == ((good,), ())
    assert (incorrect.chosen_spans, incorrect.rejected_spans) == ((), (bad_side,))
    assert (both.chosen_spans, both.rejected_spans) == ((good,), (bad_side,))


def test_masked_regions_count_code_points_of_their_own_side(tmp_path):
    row = {**GRANULAR, "correct_response": "👩‍🔬 é: yes", "incorrect_response": "no", "masked_region": [4, 5, 1]}
    assert only(tmp_path, row).chosen_spans == (Span(4, 5, "unknown", "é"),)


def test_an_empty_masked_region_is_an_anchor(tmp_path):
    assert only(tmp_path, {**GRANULAR, "masked_region": [5, 5, -1]}).rejected_spans == (Span(5, 5, "unknown", ""),)


def test_response_level_and_trl_rows_are_pairs_without_spans(tmp_path):
    pair = without_id(PreferenceRecord("", "Add.", "a + b", "a - b"))
    assert only(tmp_path, {"prompt": "Add.", "winning_response": "a + b", "losing_response": "a - b"}) == pair
    assert only(tmp_path, TRL) == pair


def test_rows_are_recognised_by_their_fields():
    rows = {"granular": PLURAL, "preference": PREFERENCE, "trl": TRL, "qa": QA}
    assert {name: recognise(row) for name, row in rows.items()} == {name: name for name in rows}
    assert recognise({"prompt": "", "winning_response": "", "losing_response": ""}) == "response-level"
    assert recognise({"text": ""}) is None


def test_a_format_that_is_named_is_not_guessed(tmp_path):
    assert only(tmp_path, PREFERENCE, "trl").rejected_spans == ()


# Rows that cannot be used


def test_bad_json_is_shown_with_its_column(tmp_path):
    reason, detail = bad(tmp_path, b'{"prompt": "x", }')
    assert reason == "bad-json"
    assert detail.startswith("bad JSON at column 17: ")


@pytest.mark.parametrize("line", [b"[" * 100_000, b'{"prompt": 1' + b"0" * 5000 + b"}"])
def test_json_beyond_the_parser_is_a_bad_row(tmp_path, line):
    reason, detail = bad(tmp_path, line)
    assert (reason, detail[:24]) == ("bad-json", "JSON that cannot be read")


def test_a_line_that_is_not_utf8(tmp_path):
    found = bad(tmp_path, b'{"prompt": "caf\xe9", "response": "x"}')
    assert found == ("encoding", "this is not UTF-8: 0xe9 at byte 16 of the line.")


def test_lone_surrogates_are_not_text(tmp_path):
    reason, detail = bad(tmp_path, b'{"prompt": "ok", "response": "x\\ud83d"}')
    assert (reason, detail) == ("encoding", "field 'response' holds '\\ud83d' at 1: not Unicode text.")


def test_broken_utf8_in_a_json_list_spoils_its_item_only(tmp_path):
    path = tmp_path / "data.json"
    path.write_bytes(b'[{"prompt": "caf\xe9", "response": "x"}, ' + json.dumps(QA).encode() + b"]")
    first, second = read(path)
    assert (first.id, first.reason) == ("data.json:1", "encoding")
    assert second.id == CONTENT_ID


def test_a_missing_field_is_named_with_its_nearest_neighbour(tmp_path):
    near = bad(tmp_path, {"prompt": "x", "respnse": "y"})
    far = bad(tmp_path, {"prompt": "x", "zzz": "y"})
    assert near == ("missing-field", "field 'response' is missing; the nearest field present is 'respnse'.")
    assert far == ("missing-field", "field 'response' is missing; the fields present are 'prompt', 'zzz'.")


def test_a_misspelt_span_field_is_not_passed_over(tmp_path):
    row = {**TRL, "chosen_span": [PLUS], "rejected_spans": []}
    assert bad(tmp_path, row, PREFERENCE) == (
        "missing-field",
        "there is no field 'chosen_span': did you mean 'chosen_spans'?",
    )


@pytest.mark.parametrize(
    ("good", "change", "detail"),
    [
        (QA, {"prompt": 3}, "field 'prompt' should be text but is a whole number."),
        (QA, {"response": None}, "field 'response' should be text but is null."),
        (QA, {"id": [1]}, "field 'id' should be text but is a list."),
        (QA, {"id": True}, "field 'id' should be text but is true or false."),
        (QA, {"source": {}}, "field 'source' should be text but is an object."),
        (QA, {"tests": {}}, "field 'tests' should be a list but is an object."),
        (QA, {"tests": [1]}, "field 'tests[0]' should be an object but is a whole number."),
        (
            QA,
            {"tests": [{"function": "f", "arguments": "4", "expected": 2}]},
            "field 'tests[0].arguments' should be a list but is text.",
        ),
        (
            QA,
            {"tests": [{"function": "f", "arguments": [], "expected": 2, "raises": "E"}]},
            "field 'tests[0]' has both 'expected' and 'raises'; a test has one of them.",
        ),
        (
            QA,
            {"tests": [{"function": "f", "arguments": [float("nan")], "expected": 2}]},
            "field 'tests[0]' is not plain JSON: Out of range float values are not JSON compliant.",
        ),
        (TRL, {"chosen": [{"role": "user"}]}, "field 'chosen' should be text but is a list."),
        (PREFERENCE, {"chosen_spans": {}}, "field 'chosen_spans' should be a list but is an object."),
        (PREFERENCE, {"rejected_spans": [[1, 2]]}, "field 'rejected_spans[0]' should be an object but is a list."),
        (
            PREFERENCE,
            {"rejected_spans": [{**MINUS, "end": 3.0}]},
            "field 'rejected_spans[0].end' should be a whole number but is a number.",
        ),
        (
            PREFERENCE,
            {"rejected_spans": [{**MINUS, "weight": "1"}]},
            "field 'rejected_spans[0].weight' should be a number but is text.",
        ),
        (
            PREFERENCE,
            {"rejected_spans": [{**MINUS, "weight": -1}]},
            "field 'rejected_spans[0].weight' is -1, and a weight is finite and not negative.",
        ),
        (
            GRANULAR,
            {"masked_region": [2, 3, 0]},
            "field 'masked_region' is [2, 3, 0]; it should read [start, end, flag] with the flag 1 or -1.",
        ),
        (
            PLURAL,
            {"masked_regions": [[2, 3, 1], [2, 3]]},
            "field 'masked_regions[1]' is [2, 3]; it should read [start, end, flag] with the flag 1 or -1.",
        ),
        (
            GRANULAR,
            {"masked_region": [2, 3, True]},
            "field 'masked_region' should be a whole number but is true or false.",
        ),
    ],
)
def test_values_of_the_wrong_type(tmp_path, good, change, detail):
    assert bad(tmp_path, {**good, **change}, good) == ("wrong-type", detail)


def test_fields_missing_inside_a_list_are_named_in_full(tmp_path):
    test = {"function": "f", "args": [1], "expected": 1}
    _, of_test = bad(tmp_path, {**QA, "tests": [test]})
    _, of_span = bad(tmp_path, {**PREFERENCE, "chosen_spans": [{"start": 0, "stop": 1}]}, PREFERENCE)
    assert of_test.startswith("field 'tests[0].arguments' is missing; ")
    assert of_span == "field 'chosen_spans[0].end' is missing; the fields present are 'start', 'stop'."


@pytest.mark.parametrize(("good", "field"), [(QA, "prompt"), (QA, "response"), (TRL, "chosen"), (TRL, "rejected")])
@pytest.mark.parametrize("nothing", ["", " \n"])
def test_empty_texts(tmp_path, good, field, nothing):
    assert bad(tmp_path, {**good, field: nothing}, good) == ("empty", f"field '{field}' is empty.")


def test_a_pair_of_equal_answers_prefers_nothing(tmp_path):
    reason, detail = bad(tmp_path, {**TRL, "rejected": "a + b"}, TRL)
    assert (reason, "'chosen' and 'rejected'" in detail) == ("same-answers", True)


@pytest.mark.parametrize("region", [[2, 6, -1], [-1, 3, -1], [3, 2, -1]])
def test_a_region_outside_its_response(tmp_path, region):
    reason, detail = bad(tmp_path, {**GRANULAR, "masked_region": region}, GRANULAR)
    assert reason == "span"
    assert f"rejected: span [{region[0]}, {region[1]}) lies outside its response of 5 characters." in detail


def test_a_span_that_shows_another_text(tmp_path):
    reason, detail = bad(tmp_path, {**PREFERENCE, "rejected_spans": [{**MINUS, "text": "+"}]}, PREFERENCE)
    assert reason == "span"
    assert "should read '+' but the response reads '-'" in detail


def test_a_row_of_another_format_is_not_read_in_part(tmp_path):
    assert bad(tmp_path, PREFERENCE, TRL) == ("other-format", "this is a preference row in a trl file.")


def test_ids_are_unique(tmp_path):
    row = {**QA, "id": "x"}
    assert bad(tmp_path, row, row) == ("duplicate-id", "id 'x' is already that of data.jsonl:1.")


ANYTHING = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.just(10**400)
    | st.floats()
    | st.sampled_from(["", "a + b", "\ud800"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["start", "end", "weight", "function", "arguments", "expected"]), inner)
    ),
    max_leaves=6,
)


@settings(max_examples=150)
@given(st.sampled_from([QA, PREFERENCE, GRANULAR, PLURAL]), st.data())
def test_no_row_whatsoever_raises(good, data):
    field = data.draw(st.sampled_from([*good, "id", "tests", "source", "provenance"]))
    row = json.dumps({**good, field: data.draw(ANYTHING)}).encode()
    with tempfile.TemporaryDirectory() as folder:
        first, second = read(jsonl(folder, good, row))
    assert not isinstance(first, Reject)
    assert isinstance(second, (Reject, type(first)))


# Round trips

TEXT = st.text(min_size=1, max_size=30).filter(str.strip)


@st.composite
def spans(draw, response):
    bounds = draw(st.lists(st.tuples(*[st.integers(0, len(response))] * 2).map(sorted), max_size=3))
    return tuple(Span(start, end, "unknown", response[start:end]) for start, end in bounds)


@st.composite
def pairs(draw):
    chosen, rejected = draw(st.tuples(TEXT, TEXT).filter(lambda two: two[0] != two[1]))
    pair = PreferenceRecord("", draw(TEXT), chosen, rejected, draw(spans(chosen)), draw(spans(rejected)))
    return without_id(pair)


@settings(max_examples=60)
@given(pairs(), st.sampled_from([to_granular, PreferenceRecord.to_row]))
def test_pairs_with_spans_come_back_exactly(record, write):
    with tempfile.TemporaryDirectory() as folder:
        assert only(folder, write(record)) == record


@settings(max_examples=60)
@given(pairs())
def test_granular_and_response_level_rows_come_back_exactly(record):
    granular, level = to_granular(record), to_response_level(record)
    assert to_granular(FORMATS["granular"].convert(granular, "x")) == granular
    assert to_response_level(FORMATS["response-level"].convert(level, "x")) == level


def test_the_exported_rows_are_the_seeds():
    record = FORMATS["preference"].convert(PREFERENCE, "x")
    assert to_granular(record) == PLURAL
    assert to_response_level(record) == {"prompt": "Add.", "winning_response": "a + b", "losing_response": "a - b"}


@settings(max_examples=60)
@given(TEXT, TEXT, st.recursive(st.none() | st.integers() | TEXT, lambda inner: st.lists(inner, max_size=2)))
def test_questions_with_tests_come_back_exactly(prompt, response, value):
    test = {"function": "f", "arguments": [value], "expected": value}
    row = {"id": "x", "prompt": prompt, "response": response, "source": "s", "tests": [test]}
    with tempfile.TemporaryDirectory() as folder:
        expected = QARecord("x", prompt, response, "s", (FunctionTest.of("f", value, expected=value),))
        assert only(folder, row) == expected
