"""Several errors in one answer: they do not touch, each shows alone and beside the others, and spans stay exact."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline import spans
from pipeline.errors import ERROR_TYPES, error_type
from pipeline.errors.answers import code_of, compiles, program_of
from pipeline.errors.base import Case
from pipeline.records import CorruptionRecord, FunctionTest, QARecord, Reject
from pipeline.sandbox.run import Execution, execute, passed, same_outcome
from pipeline.sources.builtin import build
from pipeline.spans import Edit, edit_at
from pipeline.stages.embed import Number, embed
from pipeline.stages.together import Embedded, alone, clash, expecting, moved, numbered, refused, stops, touched

ALL = tuple(ERROR_TYPES)
BASE_CASES = "incorrect-base-case-in-recursion"
THREE = Number(1, 3)

ANSWER = """Two loops:

```python
import math


def area(r):
    if r < 0:
        return 0
    return math.pi * r ** 2


def total(xs):
    s = 0
    for i in range(len(xs)):
        s += xs[i]
    return s


def turns(n):
    found = math.pi
    for i in range(n):
        found += 1
    return found
```

`total` adds them up.
"""
TESTS = (
    FunctionTest.of("area", 0, expected=0.0),
    FunctionTest.of("area", -1, expected=0),
    FunctionTest.of("total", [1, 2, 3], expected=6),
    FunctionTest.of("total", [], expected=0),
    FunctionTest.of("turns", 2, expected=5.141592653589793),
)
WHOLE = Case("", ANSWER, ANSWER, (), TESTS)
QA = QARecord("row-1", "Write both.", ANSWER, "test", TESTS)


def at(old: str, new: str, error_type: str = "") -> Edit:
    start = ANSWER.index(old)
    return edit_at(ANSWER, start, start + len(old), new, error_type)


def one(name: str, *edits: Edit) -> Embedded:
    found = alone(error_type(name), edits, WHOLE, execute)
    assert isinstance(found, Embedded), found
    return found


def shorter_loop() -> Embedded:
    return one("off-by-one-errors", at("len(xs)", "len(xs) - 1"))


def no_guard() -> Embedded:
    return one("improper-handling-of-edge-cases", at("    if r < 0:\n        return 0\n", ""))


def no_import() -> Embedded:
    return one("omitting-necessary-imports", at("import math\n", ""))


def no_colon() -> Embedded:
    return one("minor-syntax-errors", at("def total(xs):", "def total(xs)"))


def unused() -> Embedded:
    return one("unused-imports", at("\n\n\ndef area", "\nimport sys\n\n\ndef area"))


# What goes with what


def test_errors_of_different_functions_go_together():
    assert refused(shorter_loop(), [no_guard()], WHOLE, execute) == ""


def test_an_error_behind_another_is_not_embedded():
    """Without the import `turns` raises NameError before it comes to its loop; `total` does not, nor does a guard."""
    hidden = one("off-by-one-errors", at("range(n)", "range(n - 1)"))
    assert refused(hidden, [no_import()], WHOLE, execute) == "off-by-one-errors does not show beside the others"
    assert refused(no_import(), [hidden], WHOLE, execute) == "off-by-one-errors does not show beside the others"
    assert refused(hidden, [no_guard()], WHOLE, execute) == ""
    assert refused(shorter_loop(), [no_import()], WHOLE, execute) == ""
    assert refused(no_guard(), [no_import()], WHOLE, execute) == "", "area(-1) came back before, and now it raises"


def test_nothing_that_shows_by_running_goes_with_broken_syntax():
    assert refused(shorter_loop(), [no_colon()], WHOLE, execute) == "nothing runs where the program is broken"
    assert refused(no_colon(), [shorter_loop()], WHOLE, execute) == "nothing runs where the program is broken"
    assert refused(no_colon(), [shorter_loop()], WHOLE, None) == "nothing runs where the program is broken"


def test_what_shows_without_running_goes_with_broken_syntax_in_either_order():
    assert refused(unused(), [no_colon()], WHOLE, execute) == ""
    assert refused(no_colon(), [unused()], WHOLE, execute) == ""


def test_one_syntax_error_is_enough():
    other = one("minor-syntax-errors", at("def area(r):", "def area(r)"))
    assert "does not show" not in refused(other, [], WHOLE, execute)
    assert stops(other.edits, ANSWER) and not stops(unused().edits, ANSWER) and not stops(shorter_loop().edits, ANSWER)


@pytest.mark.parametrize(("old", "new", "expected"), [
    ("```python\n", "python\n", True),
    ("s = 0", "s = 0\n    s = 0", False),
    ("return found\n```", "return found\n\n```", False),
    ("`total` adds", "total adds", False),
    ("```\n\n`total`", "\n\n`total`", True),
])  # fmt: skip
def test_a_broken_fence_stops_the_program_too(old, new, expected):
    assert stops((at(old, new),), ANSWER) is expected


def test_errors_never_share_a_statement_or_a_line():
    assert clash((at("len(xs)", "x"),), (at("range", "y"),), ANSWER)
    assert not clash((at("len(xs)", "x"),), (at("xs[i]", "y"),), ANSWER)
    assert clash((at("    if r < 0:\n        return 0\n", ""),), (at("return 0", "return 1"),), ANSWER)
    assert not clash((at("    if r < 0:\n        return 0\n", ""),), (at("math.pi", "3"),), ANSWER)
    assert refused(shorter_loop(), [shorter_loop()], WHOLE, execute) == "another error is in the same statement or line"


def test_a_statement_over_several_lines_is_touched_as_a_whole_and_a_block_by_its_head():
    answer = "```python\nx = [\n    1,\n    2,\n]\nif (x and\n        y):\n    z = 1\n```\n"
    start = answer.index("2,")
    assert touched((edit_at(answer, start, start + 1, "3"),), answer) == {1, 2, 3, 4}
    start = answer.index("y)")
    assert touched((edit_at(answer, start, start + 1, "w"),), answer) == {5, 6}
    start = answer.index("```python")
    assert touched((edit_at(answer, start, start, "Look:"),), answer) == {0}


def test_edits_are_moved_by_what_stands_before_them():
    first, second = at("import math\n", ""), at("len(xs)", "len(xs) - 1")
    (shifted,) = moved((second,), [first])
    assert spans.apply([first], ANSWER)[shifted.start : shifted.end] == "len(xs)"
    assert moved((first,), [second]) == (first,)


def test_what_a_program_gives_becomes_what_is_expected():
    done = execute(program_of(ANSWER.replace("import math", "")), TESTS)
    made = expecting(TESTS, done)
    assert made[0].raises == "NameError" and made[2].expected == "6" and made[2].raises == ""
    assert passed(done, made)
    assert expecting(TESTS, Execution("cpu-limit")) is None


def test_errors_are_numbered_by_position():
    edits = numbered([shorter_loop(), no_guard(), unused()])
    assert [edit.error for edit in edits] == [0, 1, 2]
    assert [edit.start for edit in edits] == sorted(edit.start for edit in edits)
    assert [edit.level for edit in edits] == ["static", "executed", "executed"]


# The stage


@cache
def corpus() -> tuple[QARecord, ...]:
    return tuple(build(40, 0))


def of_errors(edits: tuple[Edit, ...]) -> list[tuple[Edit, ...]]:
    return [tuple(edit for edit in edits if edit.error == number) for number in sorted({edit.error for edit in edits})]


def check_spans(made: CorruptionRecord) -> None:
    """Inverse edits restore the good answer; spans show their text; outside of them both sides are equal."""
    assert spans.apply(made.edits, made.response) == made.rejected
    assert spans.apply(spans.inverse(made.edits, made.response), made.rejected) == made.response
    chosen, rejected = made.spans()
    for text, marked in ((made.response, chosen), (made.rejected, rejected)):
        for span in marked:
            assert text[span.start : span.end] == span.text
    assert outside(made.response, chosen) == outside(made.rejected, rejected)


def outside(text: str, marked: list[spans.Span]) -> list[str]:
    edges = [0, *(edge for span in marked for edge in (span.start, span.end)), len(text)]
    return [text[start:end] for start, end in zip(edges[::2], edges[1::2], strict=True)]


@settings(max_examples=150)
@given(st.integers(0, 39), st.integers(0, 10_000), st.integers(1, 4))
def test_spans_are_exact_on_both_sides_however_many_errors_there_are(row, seed, most):
    record = replace(corpus()[row], id=f"row-{seed}")
    made = embed(record, ALL, seed, None, Number(1, most))
    assert isinstance(made, CorruptionRecord)
    check_spans(made)
    errors = of_errors(made.edits)
    assert 1 <= len(errors) <= most
    assert [error[0].start for error in errors] == sorted(error[0].start for error in errors)
    assert len({error[0].error_type for error in errors}) == len(errors), "each error is of another type"
    for index, error in enumerate(errors):
        assert len({(edit.error_type, edit.level, edit.evidence) for edit in error}) == 1
        assert not any(clash(error, other, made.response) for other in errors[index + 1 :])


def test_every_error_of_a_row_shows_alone_and_all_of_them_together():
    numbers: Counter[int] = Counter()
    for record in corpus()[:14]:
        made = embed(record, ALL, 3, execute, THREE)
        assert isinstance(made, CorruptionRecord)
        check_spans(made)
        errors = of_errors(made.edits)
        numbers[len(errors)] += 1
        for error in errors:
            bad = spans.apply(error, made.response)
            case = Case(made.prompt, made.response, bad, error, made.tests)
            seen = error_type(error[0].error_type).verify(case, execute)
            assert seen.confirmed and (seen.level, seen.reason) == (error[0].level, error[0].evidence)
        check_each_is_missed(made, errors)
    assert numbers[2] + numbers[3] >= 7, numbers


def check_each_is_missed(made: CorruptionRecord, errors: list[tuple[Edit, ...]]) -> None:
    """Taking one executed error back changes what the answer does: none of them is hidden by the rest."""
    after = execute(program_of(made.rejected), made.tests)
    for error in errors:
        if error[0].level != "executed":
            continue
        rest = [edit for edit in made.edits if edit not in error]
        mended = execute(program_of(spans.apply(rest, made.response)), made.tests)
        assert mended.status == "completed", "and so what the others do can be told"
        pairs = zip(mended.outcomes, after.outcomes, strict=False)
        assert after.status != "completed" or not all(same_outcome(*pair) for pair in pairs)


def test_the_number_is_drawn_by_seed_and_id_between_the_two_ends():
    drawn = [Number(1, 3).drawn(0, f"row-{index}") for index in range(300)]
    assert drawn == [Number(1, 3).drawn(0, f"row-{index}") for index in range(300)]
    assert all(70 <= count <= 130 for count in Counter(drawn).values()) and set(drawn) == {1, 2, 3}
    assert drawn != [Number(1, 3).drawn(1, f"row-{index}") for index in range(300)]


def test_a_row_with_too_few_errors_is_rejected_with_what_was_seen():
    made = embed(QA, ["unused-imports", "minor-syntax-errors", BASE_CASES], 0, execute, Number(3, 3))
    assert isinstance(made, Reject) and made.reason == "too-few-errors"
    assert made.detail.startswith("2 of at least 3")


def test_where_errors_outnumber_types_a_type_may_come_twice():
    made = embed(QA, ["unused-imports", "off-by-one-errors"], 0, execute, Number(1, 4))
    assert isinstance(made, CorruptionRecord)
    check_spans(made)
    assert max(Counter(error[0].error_type for error in of_errors(made.edits)).values()) >= 2


def test_the_same_row_gets_the_same_errors_whatever_else_is_done():
    first = [embed(record, ALL, 0, None, THREE) for record in corpus()[:8]]
    assert first == [embed(record, ALL, 0, None, THREE) for record in corpus()[:8][::-1]][::-1]


# Without running anything


def test_without_running_errors_are_static_and_nothing_is_run():
    for record in corpus()[:12]:
        made = embed(record, ALL, 0, None)
        assert isinstance(made, CorruptionRecord)
        assert {edit.level for edit in made.edits} <= {"static", "by construction"}
        good, bad = code_of(made.response), code_of(made.rejected)
        assert good is not None and compiles(good)
        assert bad is None or good.text != bad.text or made.response != made.rejected


def test_tests_are_not_asked_where_nothing_is_run():
    """The tests of this row are wrong, so by running them it could not serve."""
    wrong = replace(QA, tests=(FunctionTest.of("total", [1], expected=7),))
    assert isinstance(embed(wrong, ALL, 0, None), CorruptionRecord)
    assert isinstance(embed(wrong, ALL, 0, execute), Reject)


def test_an_answer_that_does_not_compile_cannot_serve_without_running_either():
    made = embed(QARecord("r", "", "```python\nreturn 5\n```\n", "s"), ALL, 0, None)
    assert isinstance(made, Reject) and made.reason == "good-answer-fails"


def test_a_row_whose_program_cannot_run_here_gets_errors_that_show_without_running():
    answer = "```python\nimport nowhere_to_be_found\n\nprint(nowhere_to_be_found.f(range(3)))\n```\n"
    record = QARecord("r", "", answer, "s")
    made = embed(record, ("minor-syntax-errors",), 0, execute)
    assert isinstance(made, CorruptionRecord) and made.edits[0].level == "static"
    refused_row = embed(record, ("off-by-one-errors",), 0, execute)
    assert isinstance(refused_row, Reject) and refused_row.reason == "no-site"
