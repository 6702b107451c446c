"""What each stage makes of what a model says: rectify, tag, embed, annotate; and a whole conversation each."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import ERROR_TYPES
from pipeline.failures import UserError
from pipeline.llm.asked import ModelStage
from pipeline.llm.base import Failure
from pipeline.llm.conversation import Answer, NoAnswer, converse
from pipeline.llm.prompts import messages, source, template
from pipeline.llm.scripted import Scripted
from pipeline.records import CorruptionRecord, FunctionTest, PreferenceRecord, QARecord, Reject, Tag, TaggedRecord
from pipeline.stages.annotate_by_model import AnnotateByModel
from pipeline.stages.embed import Number
from pipeline.stages.embed_by_model import EmbedByModel
from pipeline.stages.rectify import RectifyStage
from pipeline.stages.tag import TagStage

ALL = tuple(ERROR_TYPES)
OFF, SYNTAX, UNUSED = "off-by-one-errors", "minor-syntax-errors", "unused-imports"
CODE = "def total(n):\n    result = 0\n    for i in range(n):\n        result += i\n    return result\n"
ANSWER = f"Add them 🎉:\n\n```python\n{CODE}```\n"
TESTS = (FunctionTest.of("total", 4, expected=6), FunctionTest.of("total", 0, expected=0))
ROW = QARecord("r1", "Add the numbers below n.", ANSWER, "test", TESTS)


def edit(error_type: str, original: str, replacement: str, context: str = "") -> dict[str, str]:
    told = {"original_text": original, "replacement": replacement, "context": context, "explanation": "told"}
    return {"error_type": error_type, **told}


def talk(stage: ModelStage, record: Any, *replies: Any, attempts: int = 3) -> tuple[Any, Scripted]:
    """The outcome of a whole conversation: a row, a reject, or why there was no answer."""
    model = Scripted.saying(*(reply if isinstance(reply, str) else json.dumps(reply) for reply in replies))
    facts = stage.facts(record)
    assert isinstance(facts, dict)
    opening = messages(stage.prompt, facts)
    said = asyncio.run(converse(model, opening, stage.reply_type(), lambda one: stage.problems(record, one), attempts))
    return (stage.conclude(record, said.said) if isinstance(said, Answer) else said), model


# Conversations


def test_a_fence_around_the_reply_is_put_up_with() -> None:
    made, model = talk(RectifyStage(), ROW, '```json\n{"correction_details": "", "correct_response": ""}\n```')
    assert made == ROW and len(model.requests) == 1


def test_the_request_holds_the_schema_of_the_reply() -> None:
    _, model = talk(TagStage(ALL), ROW, {"tags": []})
    schema = json.loads(model.requests[0].schema)
    assert schema["additionalProperties"] is False and schema["required"] == ["tags"]
    assert schema["$defs"]["PlanOfType"]["properties"]["error_type"]["enum"] == list(ALL)
    assert sorted(schema["$defs"]["PlanOfType"]["required"]) == ["error_type", "plan"]


def test_a_failure_ends_the_conversation() -> None:
    model = Scripted.saying(Failure("refused", "no"))
    said = asyncio.run(
        converse(model, messages("rectify", RectifyStage().facts(ROW)), TagStage(ALL).reply_type(), lambda _: [], 3)
    )
    assert said == NoAnswer(Failure("refused", "no"), 1, 0, 0)


def test_a_reply_that_was_cut_off_is_told_so() -> None:
    from pipeline.llm.base import Reply
    from pipeline.llm.conversation import read

    wrong = read(Reply('{"correction_details": "x', "length"), RectifyStage().reply_type())
    assert isinstance(wrong, list) and wrong[0] == "the reply was cut off because it was too long"


# Rectify

MENDED = ANSWER.replace("range(n)", "range(0, n)")
BROKEN = ANSWER.replace("range(n)", "range(n + 1)")


@pytest.mark.parametrize(
    ("response", "correction", "expected"),
    [
        (ANSWER, "", ANSWER),
        (BROKEN, ANSWER, ANSWER),
        (ANSWER, MENDED, MENDED),
        (ANSWER, BROKEN, ANSWER),
        (BROKEN, ANSWER.replace("range(n)", "range(1)"), "correction-fails"),
    ],
)
def test_a_correction_counts_where_it_passes_the_tests(response: str, correction: str, expected: str) -> None:
    row = QARecord("r1", ROW.prompt, response, "test", TESTS)
    made, _ = talk(
        RectifyStage(), row, {"correction_details": "x" if correction else "", "correct_response": correction}
    )
    assert (made.reason if isinstance(made, Reject) else made.response) == expected


def test_a_correction_whose_code_does_not_parse_is_asked_for_again_and_then_rejected() -> None:
    broken = {"correction_details": "x", "correct_response": "```python\ndef total(:\n```"}
    good = {"correction_details": "x", "correct_response": MENDED}
    assert talk(RectifyStage(), ROW, broken, good)[0].response == MENDED
    made, _ = talk(RectifyStage(), ROW, *[broken] * 3)
    assert isinstance(made, Reject) and made.reason == "correction-broken"


# Tags


def test_tags_are_kept_with_their_plans() -> None:
    said = {"tags": [{"error_type": OFF, "plan": "widen the range"}, {"error_type": UNUSED, "plan": "import os"}]}
    made, _ = talk(TagStage(ALL), ROW, said)
    assert made.tags == (Tag(OFF, "widen the range"), Tag(UNUSED, "import os"))
    assert TaggedRecord.from_row(made.to_row()) == made


def test_a_type_that_does_not_exist_is_asked_for_again() -> None:
    wrong = {"tags": [{"error_type": "off-by-two", "plan": "x"}]}
    made, model = talk(TagStage(ALL), ROW, wrong, {"tags": []})
    assert made.tags == () and len(model.requests) == 2
    assert "tags.0.error_type" in model.requests[1].messages[-1].content


# Embed


def tagged(*names: str) -> TaggedRecord:
    tags = tuple(Tag(name, f"plan of {name}") for name in names)
    return TaggedRecord(ROW.id, ROW.prompt, ROW.response, ROW.source, ROW.tests, tags)


def embedded(*edits: Any, most: int = 1, row: Any = None, names: tuple[str, ...] = (OFF,)) -> tuple[Any, Scripted]:
    stage = EmbedByModel(ALL, 0, Number(1, most))
    return talk(stage, row or tagged(*names), *({"edits": one if isinstance(one, list) else [one]} for one in edits))


def test_an_edit_becomes_an_error_with_exact_spans_that_was_run() -> None:
    made, model = embedded(edit(OFF, "for i in range(n):", "for i in range(n - 1):"))
    assert isinstance(made, CorruptionRecord)
    assert made.rejected == ANSWER.replace("range(n)", "range(n - 1)")
    [one] = made.edits
    assert (one.old, one.new, one.error_type, one.level, one.error) == ("", " - 1", OFF, "executed", 0)
    assert "(by the model: told)" in one.evidence
    assert "- off-by-one-errors: plan of off-by-one-errors" in model.requests[0].messages[1].content


@pytest.mark.parametrize(
    ("proposed", "reason", "detail"),
    [
        (edit(OFF, "range(m)", "range(2)"), "no-usable-edit", "'range(m)' does not occur"),
        (edit(OFF, "result", "results"), "no-usable-edit", "occurs 3 times in the answer, and no context"),
        (edit(OFF, "range(n)", "range(n)"), "no-usable-edit", "nothing changes"),
        (edit(OFF, "", "x"), "no-usable-edit", "empty"),
        (edit(OFF, "range(n)", "range(0, n)"), "nothing-confirmed", OFF),
        (edit(OFF, "Add them", "Sum them"), "nothing-confirmed", OFF),
        (edit(UNUSED, "Add them", "Sum them"), "no-usable-edit", "none of the errors asked for"),
    ],
)
def test_what_cannot_be_placed_or_shown_is_rejected_with_a_reason(proposed: Any, reason: str, detail: str) -> None:
    made, _ = embedded(*[proposed] * 3)
    assert isinstance(made, Reject) and made.reason == reason
    assert detail in made.detail


def test_ambiguous_text_is_resolved_by_its_context() -> None:
    made, model = embedded(edit(OFF, "0", "1", "result = 0"))
    assert isinstance(made, CorruptionRecord) and len(model.requests) == 1
    made, _ = embedded(edit(OFF, "result", "result - 1", "return result"))
    assert isinstance(made, CorruptionRecord) and "return result - 1" in made.rejected


def test_text_that_is_not_there_is_asked_for_again_with_what_is_wrong() -> None:
    made, model = embedded(edit(OFF, "range(m)", "range(2)"), edit(OFF, "range(n)", "range(n - 1)"))
    assert isinstance(made, CorruptionRecord)
    assert "edits.0 (off-by-one-errors): original_text: 'range(m)' does not occur" in (
        model.requests[1].messages[-1].content
    )


def test_several_errors_do_not_touch_and_are_verified_one_by_one() -> None:
    said = [
        edit(UNUSED, "def total", "import os\n\ndef total"),
        edit(OFF, "range(n)", "range(n - 1)"),
        edit(SYNTAX, "range(n):", "range(n)"),
    ]
    made, _ = embedded(said, said, said, most=3, row=tagged(OFF, UNUSED, SYNTAX))
    assert isinstance(made, CorruptionRecord)
    assert len({one.error for one in made.edits}) == len(made.edits)
    chosen, rejected = made.spans()
    assert all(made.rejected[one.start : one.end] == one.text for one in rejected)
    assert all(made.response[one.start : one.end] == one.text for one in chosen)


def test_a_row_asks_for_the_same_errors_every_time_and_no_more_than_allowed() -> None:
    rows = [TaggedRecord(f"r{n}", "p", ANSWER, "s", (), tagged(OFF, SYNTAX, UNUSED).tags) for n in range(40)]
    stage = EmbedByModel((OFF, SYNTAX), 3, Number(1, 2))
    plans = [stage.plans(row) for row in rows]
    assert plans == [stage.plans(row) for row in rows]
    assert {len(plan) for plan in plans} == {1, 2}
    assert {tag.error_type for plan in plans for tag in plan} == {OFF, SYNTAX}
    assert {tag.error_type for row in rows for tag in EmbedByModel(ALL, 0).plans(row)} == {OFF, SYNTAX, UNUSED}


def test_a_row_without_tags_is_not_asked_about() -> None:
    assert EmbedByModel(ALL, 0).facts(tagged()) == Reject("r1", "no-tags", "no error type fits")


def test_a_row_without_tests_gets_made_ones_that_show_the_error() -> None:
    row = QARecord("r1", ROW.prompt, ANSWER, "s")
    made, _ = talk(EmbedByModel((OFF,), 0), row, {"edits": [edit(OFF, "range(n)", "range(n - 1)")]})
    assert isinstance(made, CorruptionRecord)
    assert made.edits[0].level == "executed" and made.tests
    unrun, _ = talk(EmbedByModel((OFF,), 0, execute=None), row, {"edits": [edit(OFF, "range(n)", "range(n - 1)")]})
    assert isinstance(unrun, CorruptionRecord) and unrun.edits[0].level == "static" and not unrun.tests


def test_a_good_answer_that_fails_its_tests_is_no_start() -> None:
    row = QARecord("r1", "p", BROKEN, "s", TESTS)
    said = {"edits": [edit(OFF, "range(n + 1)", "range(n)")]}
    made, _ = talk(EmbedByModel((OFF,), 0), row, said)
    assert isinstance(made, Reject) and made.reason == "good-answer-fails"


# Annotate

BAD = ANSWER.replace("range(n)", "range(n - 1)").replace("    return result\n", "")
PAIR = PreferenceRecord("r1", ROW.prompt, ANSWER, BAD, weight=0.25)


def region(bad: str, good: str, bad_context: str = "", good_context: str = "") -> dict[str, str]:
    sides = {"bad_text": bad, "bad_context": bad_context, "good_text": good, "good_context": good_context}
    return {"error_type": OFF, "explanation": "told", **sides}


def test_regions_become_spans_on_both_sides() -> None:
    said = {"regions": [region("", "    return result\n"), region("range(n - 1)", "range(n)")]}
    made, _ = talk(AnnotateByModel(ALL), PAIR, said)
    assert isinstance(made, PreferenceRecord)
    assert made.weight == 0.25
    assert [span.text for span in made.chosen_spans] == ["range(n)", "    return result\n"]
    first, missing = made.rejected_spans
    assert first.text == "range(n - 1)" and first.error_type == OFF
    assert (missing.start, missing.text) == (BAD.index("result += i\n") + len("result += i\n"), "")
    assert json.loads(made.provenance)["regions"][0] == {"error_type": OFF, "explanation": "told"}


def test_what_the_bad_answer_has_too_much_is_anchored_in_the_good_one() -> None:
    pair = PreferenceRecord("r1", "p", "One. Two.", "One. Extra words. Two.")
    made, _ = talk(AnnotateByModel(ALL), pair, {"regions": [region(" Extra words.", "")]})
    [anchor] = made.chosen_spans
    assert anchor.text == "" and anchor.start == len("One.")


@pytest.mark.parametrize(
    ("said", "detail"),
    [
        (region("nowhere", ""), "bad_text: 'nowhere' does not occur"),
        (region("result", ""), "bad_text: 'result' occurs"),
        (region("range(n - 1)", "range(m)"), "good_text: 'range(m)' does not occur"),
        (region("", ""), "both empty"),
    ],
)
def test_regions_without_a_place_are_asked_for_again_and_then_rejected(said: Any, detail: str) -> None:
    good = region("range(n - 1)", "range(n)")
    made, model = talk(AnnotateByModel(ALL), PAIR, {"regions": [said]}, {"regions": [good]})
    assert isinstance(made, PreferenceRecord) and detail in model.requests[1].messages[-1].content
    made, _ = talk(AnnotateByModel(ALL), PAIR, *[{"regions": [said]}] * 3)
    assert isinstance(made, Reject) and made.reason == "no-region" and detail in made.detail
    made, _ = talk(AnnotateByModel(ALL), PAIR, *[{"regions": [said, good]}] * 3)
    assert [span.text for span in made.rejected_spans] == ["range(n - 1)"], "what has a place is kept in the end"


def test_corrupted_answers_can_be_marked_too() -> None:
    made, _ = embedded(edit(OFF, "range(n)", "range(n - 1)"))
    marked, _ = talk(AnnotateByModel(ALL), made, {"regions": [region("range(n - 1)", "range(n)")]})
    assert (marked.chosen, marked.rejected) == (made.response, made.rejected)


# Prompts


@pytest.mark.parametrize("name", ["rectify", "tag", "embed", "annotate", "retry"])
def test_the_prompts_are_there_and_are_templates(name: str) -> None:
    assert template(name) and source(name)


def test_a_prompt_of_ones_own_replaces_ours_and_rows_are_never_templates(tmp_path: Path) -> None:
    (tmp_path / "tag.md").write_text("{% block system %}S{% endblock %}{% block user %}<{{ response }}>{% endblock %}")
    facts = {"prompt": "p", "response": "{{ 7 * 7 }} {% raw %}", "error_types": []}
    system, user = messages("tag", facts, str(tmp_path))
    assert (system.content, user.content) == ("S", "<{{ 7 * 7 }} {% raw %}>")
    assert messages("rectify", {"prompt": "p", "response": "r"}, str(tmp_path)) == messages(
        "rectify", {"prompt": "p", "response": "r"}
    )


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("{% block user %}x{% endblock %}", "no block 'system'"),
        ("{% block", "no template"),
        ("{% block system %}{{ other }}{% endblock %}{% block user %}{% endblock %}", "'other' is undefined"),
    ],
)
def test_a_prompt_that_does_not_work_is_a_config_error(tmp_path: Path, text: str, wrong: str) -> None:
    (tmp_path / "tag.md").write_text(text)
    with pytest.raises(UserError, match=wrong) as caught:
        messages("tag", {"prompt": "p"}, str(tmp_path))
    assert caught.value.kind == "config"
