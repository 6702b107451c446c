"""Rows of every format, files of them, and what is read there."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.failures import UserError
from pipeline.records import QARecord, Reject
from pipeline.sources.files import content_id, read

QA = {"prompt": "Add.", "response": "a + b"}
TRL = {"prompt": "Add.", "chosen": "a + b", "rejected": "a - b"}
PLUS = {"start": 2, "end": 3, "text": "+"}
MINUS = {"start": 2, "end": 3, "error_type": "typo", "text": "-", "weight": 0.5}
PREFERENCE = {**TRL, "chosen_spans": [PLUS], "rejected_spans": [MINUS]}
GRANULAR = {"prompt": "Add.", "correct_response": "a + b", "incorrect_response": "a - b", "masked_region": [2, 3, -1]}
PLURAL = {**GRANULAR, "masked_regions": [[2, 3, 1], [2, 3, -1]]}
del PLURAL["masked_region"]


CONTENT_ID = content_id(QARecord("", "Add.", "a + b", ""))
"""The id of a row without one: whatever file it stands in, and where."""


def without_id(record):
    """The record as it is read where its row has no id."""
    return replace(record, id=content_id(record))


def jsonl(folder, *rows, name="data.jsonl"):
    """A file of these rows, each an object to dump or a line of bytes as it is."""
    lines = [row if isinstance(row, bytes) else json.dumps(row, ensure_ascii=False).encode() for row in rows]
    path = Path(folder) / name
    path.write_bytes(b"".join(line + b"\n" for line in lines))
    return path


def only(folder, row, format="auto"):
    [found] = read(jsonl(folder, row), format)
    return found


def bad(folder, row, good=QA):
    """The Reject that `row` gives as the second line of a file whose first is good."""
    first, second = read(jsonl(folder, good, row))
    assert not isinstance(first, Reject)
    assert isinstance(second, Reject), second
    assert second.id == "data.jsonl:2"
    assert second.detail.startswith("data.jsonl:2: ")
    return second.reason, second.detail.removeprefix("data.jsonl:2: ")


def refusal(call):
    with pytest.raises(UserError) as caught:
        call()
    assert caught.value.where
    assert caught.value.hint
    return caught.value
