"""A run's rows to its examples: the same rows whichever answer and mask, and errors that say what to do."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import made_tokenizers as make
import pytest

from pipeline.contract import NOTES, Source, Work
from pipeline.failures import UserError
from pipeline.records import CorruptionRecord, PreferenceRecord, QARecord
from pipeline.shards import write_shards
from pipeline.spans import Span, edit_at
from training.configs import PreferenceConfig, SftConfig
from training.examples import Prepared, prepare

PROMPT = "0123456789"
SFT = {"kind": "sft", "init": "tiny", "data": "pairs", "learning_rate": 1e-3, "max_length": 20}
PREFERENCE = {**SFT, "kind": "preference"}


@pytest.fixture(scope="module")
def letters() -> Any:
    """A token for each byte, no template."""
    tokenizer = make.byte_level([], 256)
    tokenizer.add_special_tokens({"eos_token": "</s>"})
    return tokenizer


def mark(text: str, start: int, end: int) -> Span:
    return Span(start, end, "", text[start:end])


def pair(name: str, chosen: str, rejected: str, good: Any = (), bad: Any = ()) -> PreferenceRecord:
    spans = [tuple(mark(text, *place) for place in places) for text, places in ((chosen, good), (rejected, bad))]
    return PreferenceRecord(name, PROMPT, chosen, rejected, *spans)


PAIRS = [
    pair("short", "aaa", "aba", [(1, 2)], [(1, 2)]),
    pair("long-chosen", "a" * 30, "b", [(2, 3)], []),
    pair("long-rejected", "a", "b" * 30, [], [(3, 4), (28, 29)]),
    pair("unmarked", "a", "b"),
]


def prepared(tokenizer: Any, directory: Path, rows: Sequence[Any], **config: Any) -> Prepared:
    write_shards(directory / "data", rows, type(rows[0]).SCHEMA, 2)
    source = Source("data", "pairs", "rows", "key", "", directory)
    made = SftConfig.model_validate(config) if config["kind"] == "sft" else PreferenceConfig.model_validate(config)
    work = Work("x", "mended/0", config["kind"], 3, "models", "key", made, directory / "model", [source])
    return prepare(tokenizer, work)


def ids(made: Prepared) -> tuple[list[str], list[tuple[str, str]]]:
    return [example.id for example in made.examples], [(reject.id, reject.reason) for reject in made.skipped]


LEFT_OUT = [("long-chosen", "too-long"), ("long-rejected", "too-long")]


@pytest.mark.parametrize("target", ["chosen", "rejected"])
def test_an_answer_is_left_out_with_its_pair(letters: Any, tmp_path: Path, target: str) -> None:
    """Supervised controls and preference arms have the same rows, whichever answer is too long."""
    options = {"max_skipped": 0.5}
    sft = prepared(letters, tmp_path / "sft", PAIRS, **SFT, **options, target=target)
    arm = prepared(letters, tmp_path / "arm", PAIRS, **PREFERENCE, **options)
    assert ids(sft) == ids(arm) == (["short", "unmarked"], LEFT_OUT)


def test_an_answer_is_cut_as_in_its_pair(letters: Any, tmp_path: Path) -> None:
    options = {"too_long": {"min_prompt": 4}, "max_lost_spans": 1}
    sft = prepared(letters, tmp_path / "sft", PAIRS, **SFT, **options, target="chosen")
    arm = prepared(letters, tmp_path / "arm", PAIRS, **PREFERENCE, **options)
    assert ids(sft) == ids(arm) == ([record.id for record in PAIRS], [])
    assert [example.input_ids for example in sft.examples] == [made.chosen.input_ids for made in arm.examples]
    assert letters.decode(arm.examples[2].chosen.input_ids) == "6789a</s>"


def test_facts_say_what_became_of_the_rows(letters: Any, tmp_path: Path) -> None:
    options = {"too_long": {"min_prompt": 4}, "max_lost_spans": 0.2, "max_skipped": 0.25, "mask": "granular"}
    made = prepared(letters, tmp_path, PAIRS, **PREFERENCE, **options)
    assert ids(made) == (["short", "long-chosen", "long-rejected"], [("unmarked", "no-weight")])
    facts = made.facts
    assert facts["audit"]["rows"] == {"read": 4, "trained_on": 3, "left_out": {"no-weight": 1}}
    assert facts["audit"]["spans"] == {"read": 5, "with_tokens": 4, "cut_off": 1, "in_rows_left_out": 0}
    assert facts[NOTES] == [
        "1 of 4 rows left out: no-weight 1",
        "2 of 4 rows cut to 20 tokens (prompts 2, answers 2); of 5 spans 1 lost, 0 cut in part",
    ]


def test_rows_that_are_whole_give_no_notes(letters: Any, tmp_path: Path) -> None:
    assert NOTES not in prepared(letters, tmp_path, PAIRS[:1], **PREFERENCE).facts


def test_too_many_lost_spans_name_the_node_and_the_rows(letters: Any, tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        prepared(letters, tmp_path, PAIRS, **PREFERENCE, too_long="cut")
    error = caught.value
    assert (error.kind, error.where) == ("data", "node mended/0, rows of pairs")
    assert "1 of 5 spans are lost (20.0%)" in error.what
    assert "max_lost_spans is 5.0%" in error.what
    assert "long-rejected" in error.what


@pytest.mark.parametrize(
    ("rows", "options", "said", "hint"),
    [
        (PAIRS, {}, "2 of 4 rows cannot be used. The first, long-chosen: too-long", "too_long: cut"),
        (PAIRS[3:], {"mask": "granular"}, "1 of 1 rows cannot be used", "Mark spans"),
        (PAIRS[3:], {"mask": {"chosen": "none", "rejected": "random"}}, "selects no token", "Mark spans"),
        (
            [pair("far", "a" * 30, "b", [(28, 29)])],
            {"too_long": "cut", "max_lost_spans": 1},
            "spans-cut (none of its 1 spans is left in 20 tokens)",
            "Raise max_length",
        ),
    ],
)
def test_rows_that_cannot_be_trained_on(
    letters: Any, tmp_path: Path, rows: Any, options: Any, said: str, hint: str
) -> None:
    with pytest.raises(UserError) as caught:
        prepared(letters, tmp_path, rows, **PREFERENCE, **options)
    assert caught.value.kind == "data"
    assert said in caught.value.what
    assert hint in caught.value.hint


# Supervised fine-tuning on spans

BROKEN = CorruptionRecord("b", PROMPT, "a+b", "a-b", (edit_at("a+b", 1, 2, "-"),), "test")


@pytest.mark.parametrize(
    ("target", "mask", "expected"),
    [
        ("chosen", "response", [1, 1, 1, 1]),
        ("chosen", "granular", [0, 1, 0, 0]),
        ("rejected", "outside", [1, 0, 1, 1]),
        ("rejected", {"tokens": "spans", "eos": True}, [0, 1, 0, 1]),
    ],
)
def test_one_answer_under_every_mask(
    letters: Any, tmp_path: Path, target: str, mask: Any, expected: list[float]
) -> None:
    made = prepared(letters, tmp_path, [BROKEN], **SFT, target=target, mask=mask)
    (example,) = made.examples
    assert list(example.weights[example.response_start :]) == expected
    assert letters.decode(example.input_ids[:-1]) == PROMPT + getattr(
        BROKEN, "response" if target == "chosen" else target
    )
    assert list(made.audit.sides) == [target]
    assert made.facts["audit"]["spans"]["read"] == 1


def test_questions_and_answers_have_no_spans_to_go_by(letters: Any, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="have no spans, and this mask goes by spans") as caught:
        prepared(letters, tmp_path, [QARecord("q", PROMPT, "a", "test")], **SFT, mask="granular")
    assert caught.value.kind == "config"


def test_a_target_that_the_rows_lack(letters: Any, tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"target 'response' is not in the rows of pairs.*They have chosen and rejected"
    ):
        prepared(letters, tmp_path, PAIRS, **SFT)


def test_whole_answers_of_questions(letters: Any, tmp_path: Path) -> None:
    made = prepared(letters, tmp_path, [QARecord("q", PROMPT, "ab", "test")], **SFT)
    assert made.examples[0].weights == (*[0.0] * 10, 1.0, 1.0, 1.0)
