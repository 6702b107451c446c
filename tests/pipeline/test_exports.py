"""Answers that come without edits, and rows written for others and read again."""

import json
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.diffs import diff
from pipeline.failures import UserError
from pipeline.records import CorruptionRecord, FunctionTest, PreferenceRecord, QARecord
from pipeline.sources.exports import EXPORTS, to_corruption, to_masked_region, to_own, to_trl
from pipeline.sources.files import read
from pipeline.sources.formats import BadRow, from_corruption, from_offsets, from_prompts
from pipeline.spans import Edit, Span
from pipeline.stages.annotate import annotate, marked

SIDES = {"prompt": "Add.", "correct_response": "a + b", "incorrect_response": "a - b"}


# Reading


def test_a_corruption_row_has_its_edits_or_those_of_a_diff():
    edit = {"start": 2, "end": 3, "new": "-", "error_type": "typo"}
    with_edits = from_corruption({**SIDES, "edits": [edit]}, "r")
    assert with_edits.edits == (Edit(2, 3, "+", "-", "typo"),)
    assert from_corruption(SIDES, "r").edits == (Edit(2, 3, "+", "-", "unknown"),)


@pytest.mark.parametrize(
    ("change", "reason", "said"),
    [
        ({"edits": [{"start": 2, "end": 3, "new": "*"}]}, "edits", "does not lead from 'correct_response'"),
        ({"edits": [{"start": 2, "end": 9, "new": "-"}]}, "edits", "overlaps another edit or leaves the text"),
        (
            {"edits": [{"start": 2, "end": 3, "old": "x", "new": "-"}]},
            "edits",
            "expects 'x' at 2 but the text reads '+'",
        ),
        ({"edits": [{"start": 2, "end": 3}]}, "missing-field", "field 'edits[0].new' is missing"),
        ({"masked_regoins": []}, "missing-field", "did you mean 'masked_region"),
        ({"edit": []}, "missing-field", "did you mean 'edits'?"),
    ],
)
def test_a_corruption_row_that_does_not_hold_together(change, reason, said):
    with pytest.raises(BadRow) as caught:
        from_corruption({**SIDES, **change}, "r")
    assert caught.value.reason == reason
    assert said in caught.value.detail


@pytest.mark.parametrize(
    ("row", "prompt", "response"),
    [
        ({"prompt": "Add."}, "Add.", ""),
        ({"question": "Add.", "answer": "a + b"}, "Add.", "a + b"),
        ({"id": 1, "problem": "Add.", "solution": "a + b"}, "Add.", "a + b"),
        ({"prompt": "Add.", "chosen": "a + b", "rejected": "a - b"}, "Add.", "a + b"),
        (SIDES, "Add.", "a + b"),
    ],
)
def test_rows_of_every_format_are_prompts(row, prompt, response):
    found = from_prompts(row, "r")
    assert (found.prompt, found.response) == (prompt, response)


SHORT = {"prompt": "Add.", "chosen": "a + b", "rejected": "a - b"}


@pytest.mark.parametrize(
    ("span", "chosen", "rejected"),
    [
        ({"start": 2, "end": 3}, (), (Span(2, 3, "unknown", "-"),)),
        ({"start": 2, "end": 3, "side": "rejected", "label": "sign"}, (), (Span(2, 3, "sign", "-"),)),
        ({"start": 2, "end": 3, "side": "chosen", "error_type": "sign"}, (Span(2, 3, "sign", "+"),), ()),
        ({"start": 2, "end": 3, "side": 1, "label": None}, (Span(2, 3, "unknown", "+"),), ()),
        ({"start": 5, "end": 5, "side": -1, "weight": 2}, (), (Span(5, 5, "unknown", "", 2.0),)),
    ],
)
def test_offsets_of_annotation_tools_are_spans(span, chosen, rejected):
    found = from_offsets({**SHORT, "spans": [span]}, "r")
    assert (found.chosen_spans, found.rejected_spans) == (chosen, rejected)
    assert again({**SHORT, "spans": [span], "id": "r"}) == found  # recognised by its fields
    renamed = {key: "correct_response" if value == "chosen" else value for key, value in span.items()}
    assert from_offsets({**SIDES, "spans": [renamed]}, "r") == found


@pytest.mark.parametrize(
    ("span", "said"),
    [
        ({"start": 2, "end": 3, "side": "left"}, "field 'spans[0].side' is 'left'; a side is chosen (1) or rejected"),
        ({"start": 2, "end": 3, "side": True}, "field 'spans[0].side' is True"),
        ({"start": 2, "end": 3, "side": ["chosen"]}, "field 'spans[0].side' is ['chosen']"),
        ({"start": 2, "end": 3, "label": ["sign"]}, "field 'spans[0].error_type' should be text but is a list"),
        ({"start": 2}, "field 'spans[0].end' is missing"),
        ({"start": 2, "end": 3, "text": "+"}, "should read '+' but the response reads '-'"),
        ({"start": 2, "end": 9}, "lies outside its response of 5 characters"),
        (7, "field 'spans[0]' should be an object"),
    ],
)
def test_offsets_that_do_not_hold_are_told(span, said):
    with pytest.raises((BadRow, UserError)) as caught:
        from_offsets({**SHORT, "spans": [span]}, "r")
    assert said in str(caught.value)


# Writing

WORDS = st.text(min_size=1, max_size=20).filter(str.strip)
TESTS = st.lists(st.integers().map(lambda n: FunctionTest.of("f", n, expected=[n])), max_size=2).map(tuple)


def again(row):
    """The record that a written row gives."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.jsonl"
        path.write_text(json.dumps(row) + "\n")
        [found] = read(path)
    return found


@settings(max_examples=60)
@given(WORDS, WORDS, WORDS, TESTS)
def test_broken_answers_and_questions_come_back_exactly(prompt, good, bad, tests):
    question = QARecord("q", prompt, good, "s", tests)
    assert again(to_own(question)) == question
    if good != bad:
        broken = CorruptionRecord("q", prompt, good, bad, tuple(diff(good, bad, "t")), "s", tests)
        assert again(to_corruption(broken)) == broken == again(to_own(broken))
        assert again(to_own(annotate(broken))) == annotate(broken)
        heavy = replace(annotate(broken), weight=2.5)
        assert again(to_own(heavy)) == heavy


def test_the_seeds_reader_gets_one_row_for_each_region():
    pair = PreferenceRecord("p", "Add.", "a + b", "a - b", (Span(2, 3, "t", "+"),), (Span(5, 5, "t", ""),))
    assert to_masked_region(pair) == [{**SIDES, "masked_region": [2, 3, 1]}, {**SIDES, "masked_region": [5, 5, -1]}]
    assert to_trl(pair) == {"prompt": "Add.", "chosen": "a + b", "rejected": "a - b"}


def test_every_export_of_pairs_can_be_read_again():
    pair = marked(PreferenceRecord("p", "Add.", "a + b", "a - b"))
    for name, export in EXPORTS.items():
        if export.record is PreferenceRecord:
            for row in export.rows(pair):
                found = again(row)
                assert (found.chosen, found.rejected) == (pair.chosen, pair.rejected), name
