"""Records as rows of the formats that others read: the writers to `pipeline.sources.formats`' readers."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from typing import Any, NamedTuple

from pipeline.records import CorruptionRecord, FunctionTest, PreferenceRecord, QARecord, Row
from pipeline.sources.formats import CORRECT, GRANULAR, INCORRECT, SIDES, TRL, to_granular, to_response_level


class Export(NamedTuple):
    """A format to write: the rows of one record, the record type they are made from (None: any), and what it keeps."""

    rows: Callable[[Any], list[Row]]
    record: type | None
    keeps: str


def to_masked_region(pair: PreferenceRecord) -> list[Row]:
    """Seed B's granular rows, one for each region: it reads ``masked_region`` alone. Pairs without spans give none."""
    marked = [*((span, CORRECT) for span in pair.chosen_spans), *((span, INCORRECT) for span in pair.rejected_spans)]
    sides = (pair.prompt, pair.chosen, pair.rejected)
    return [dict(zip(GRANULAR[1], (*sides, [span.start, span.end, flag]), strict=True)) for span, flag in marked]


def to_trl(pair: PreferenceRecord) -> Row:
    """TRL's standard preference row with an explicit prompt."""
    return dict(zip(TRL[0], (pair.prompt, pair.chosen, pair.rejected), strict=True))


def to_corruption(record: CorruptionRecord) -> Row:
    """Seed A's corruption row, with the edits and how each was verified. It is read back exactly."""
    return {
        "id": record.id,
        **dict(zip(SIDES, (record.prompt, record.response, record.rejected), strict=True)),
        "error_types": sorted({edit.error_type for edit in record.edits}),
        "edits": [asdict(edit) for edit in record.edits],
        "source": record.source,
        **_tests(record.tests),
    }


def to_own(record: Any) -> Row:
    """The record's own fields. Rows of questions, broken answers and pairs are read back exactly."""
    if isinstance(record, CorruptionRecord):
        return to_corruption(record)
    row: Row = record.to_row()
    if "tests" in row:
        row.pop("tests")
        row |= _tests(record.tests)
    return row


def _tests(tests: tuple[FunctionTest, ...]) -> Row:
    """Tests as files have them, with plain values in place of JSON text."""
    return {"tests": [_test(test) for test in tests]} if tests else {}


def _test(test: FunctionTest) -> Row:
    outcome = {"raises": test.raises} if test.raises else {"expected": json.loads(test.expected)}
    return {"function": test.function, "arguments": json.loads(test.arguments), **outcome}


EXPORTS: dict[str, Export] = {
    "granular": Export(lambda pair: [to_granular(pair)], PreferenceRecord, "answers and spans (masked_regions)"),
    "masked-region": Export(to_masked_region, PreferenceRecord, "answers and spans, one row for each span"),
    "response-level": Export(lambda pair: [to_response_level(pair)], PreferenceRecord, "answers"),
    "trl": Export(lambda pair: [to_trl(pair)], PreferenceRecord, "answers"),
    "corruption": Export(lambda record: [to_corruption(record)], CorruptionRecord, "answers and edits"),
    "own": Export(lambda record: [to_own(record)], None, "everything"),
}
"""Formats of .json and .jsonl files, by name."""

READABLE = (QARecord, CorruptionRecord, PreferenceRecord)
"""The records whose own rows `pipeline.sources.files` reads back."""
