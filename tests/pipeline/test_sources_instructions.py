"""Instructions from LIMA, Alpaca, chats and MT-bench, as prompts to be answered."""

import json

import pytest

from pipeline.records import QARecord, Reject
from pipeline.sources.files import read
from pipeline.sources.formats import recognise

LIMA = {"conversations": ["How do I sort?", "Use sorted()."], "source": "stackexchange"}
ASKED = {"conversations": ["How do I sort?"], "source": "pushshift"}
LONG = {"conversations": ["Hello.", "Hi.", "How do I sort?", "Use sorted()."], "source": "multi_turn"}
BENCH = {"question_id": 81, "category": "writing", "turns": ["Write a poem.", "Now in prose."]}
SOLVED = {"question_id": 111, "category": "math", "turns": ["What is 2 + 2?"], "reference": ["4", ""]}
ALPACA = {"instruction": "Sort it.", "input": "3 1 2", "output": ""}
SPOKEN = {"messages": [{"role": "user", "content": "How do I sort?"}]}


def only(folder, row, format="auto"):
    path = folder / "rows.jsonl"
    path.write_text(json.dumps(row) + "\n")
    (found,) = read(path, format)
    return found


@pytest.mark.parametrize(("row", "format", "prompt", "response", "source"), [
    (LIMA, "auto", "How do I sort?", "Use sorted().", "stackexchange"),
    (LIMA, "prompts", "How do I sort?", "Use sorted().", "stackexchange"),
    (ASKED, "prompts", "How do I sort?", "", "pushshift"),
    (LONG, "auto", "Human: Hello.\n\nAssistant: Hi.\n\nHuman: How do I sort?", "Use sorted().", "multi_turn"),
    (BENCH, "auto", "Write a poem.", "", "writing"),
    (BENCH, "prompts", "Write a poem.", "", "writing"),
    (SOLVED, "auto", "What is 2 + 2?", "4", "math"),
    (ALPACA | {"output": "1 2 3"}, "prompts", "Sort it.\n\n3 1 2", "1 2 3", "rows.jsonl"),
    (SPOKEN, "prompts", "How do I sort?", "", "rows.jsonl"),
])  # fmt: skip
def test_instructions_are_read_as_prompts(tmp_path, row, format, prompt, response, source):
    found = only(tmp_path, row, format)
    assert isinstance(found, QARecord), found
    assert (found.prompt, found.response, found.source) == (prompt, response, source)


def test_mt_bench_is_known_by_its_fields_and_keeps_its_ids(tmp_path):
    assert recognise(BENCH) == "mt-bench"
    assert only(tmp_path, BENCH).id == "81"


@pytest.mark.parametrize(("row", "format", "reason"), [
    (ASKED, "chat", "no-dialogue"),
    ({**BENCH, "turns": []}, "auto", "empty"),
    ({**BENCH, "turns": [" "]}, "auto", "empty"),
    ({**BENCH, "turns": "Write."}, "auto", "wrong-type"),
    ({"conversations": ["How?", " "]}, "chat", "empty"),
    ({"conversations": []}, "prompts", "no-dialogue"),
    ({"conversations": ["How?", 3]}, "chat", "wrong-type"),
])  # fmt: skip
def test_instructions_that_cannot_be_used_are_told(tmp_path, row, format, reason):
    found = only(tmp_path, row, format)
    assert isinstance(found, Reject) and found.reason == reason
