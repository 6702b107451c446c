"""Plain texts: read from JSONL, split into sentences, cleaned, kept by their length."""

import json

import pytest
from source_node import make_source

from pipeline.records import QARecord
from pipeline.sentences import SentenceStage, cleaned, sentences
from pipeline.stages.select import SelectStage


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "Dr. Smith paid $3.50 at 9 a.m. in St. Louis. She left.",
            ["Dr. Smith paid $3.50 at 9 a.m. in St. Louis.", "She left."],
        ),
        ("One\nline goes on. Two.\n\nThree?", ["One line goes on.", "Two.", "Three?"]),
        ("He said: \u201cGo!\u201d Then he went.", ["He said: \u201cGo!\u201d", "Then he went."]),
        ("   \n\n ", []),
    ],
)  # fmt: skip
def test_texts_are_split(text, expected):
    assert list(sentences(text)) == expected


def test_a_sentence_is_cleaned():
    assert cleaned("  caf\u0065\u0301\u200b \t is\x00  open \n") == "caf\u00e9 is open"


def test_length_and_letters_decide_and_nothing_is_lost():
    text = "Too short. This sentence has a fitting length. 12 34 56 78 90 11 12 13 14! " + "Very long " * 20 + "indeed."
    rows = [QARecord("a", "", text, "Pile-CC"), QARecord("b", "", " \n", "Pile-CC")]
    kept, rejected = SentenceStage(20, 100)(rows)
    assert kept == [QARecord("a.1", "", "This sentence has a fitting length.", "Pile-CC")]
    assert [(row.id, row.reason) for row in rejected] == [
        ("a.0", "too-short"),
        ("a.2", "not-prose"),
        ("a.3", "too-long"),
        ("b", "no-sentence"),
    ]


def test_the_pile_is_read_and_chosen_by_its_parts(tmp_path):
    parts = ["Pile-CC", "Github", "Pile-CC", "PubMed Abstracts"] * 10
    rows = [{"text": f"Text {n} of a part.", "meta": {"pile_set_name": part}} for n, part in enumerate(parts)]
    path = tmp_path / "pile.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    made = make_source(tmp_path, path, format="text", splits={"test": "25%"})
    train, test = made.records("train"), made.records("test")
    assert len(train) + len(test) == 40 and 3 <= len(test) <= 18, "texts without a prompt are split by themselves"
    assert {row.prompt for row in train} == {""}
    kept, _ = SelectStage(only=("Pile-CC",))([*train, *test])
    assert len(kept) == 20 and {row.source for row in kept} == {"Pile-CC"}


def test_made_remarks_split_by_text_too(tmp_path):
    made = make_source(tmp_path, "builtin-remarks", rows=60, splits={"test": 10})
    train, test = made.records("train"), made.records("test")
    assert (len(train), len(test)) == (50, 10)
    kept, rejected = SentenceStage(20, 300)(train)
    assert len(kept) > 100 and not rejected
