"""Scorers of single answers. Scripted executions test the wording, the real sandbox the verdicts."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prose_types import PROSE

from eval.scorers import SCORERS
from eval.scorers.distance import score_distance
from eval.scorers.errors import score_errors
from eval.scorers.execution import SHOWN, compile_error, explain, score_execution
from pipeline.errors import ERROR_TYPES
from pipeline.errors.base import Finding, Unscored
from pipeline.records import CallResult, FunctionTest, GenerationRecord, ScoreRecord
from pipeline.sandbox import run
from pipeline.sandbox.run import Execution, Outcome, execute, passed
from pipeline.sandbox.values import met, unscored

TESTS = (
    FunctionTest.of("halve", 4, expected=2),
    FunctionTest.of("halve", 7, expected=3),
    FunctionTest.of("halve", "x", raises="TypeError"),
)
GOOD = "Divide:\n\n```python\ndef halve(n):\n    return n // 2\n```\nDone."


def record(response: str, tests: tuple[FunctionTest, ...] = TESTS, reference: str = "") -> GenerationRecord:
    return GenerationRecord("p1", "Halve a number.", response, "stop", 5, 9, reference, "test", tests)


def code(body: str) -> str:
    return f"```python\n{body}\n```"


def scripted(*outcomes: Outcome, status: Any = "completed", detail: str = "") -> Any:
    return lambda program, tests: Execution(status, outcomes, detail)


def never(program: str, tests: Any) -> Execution:
    raise AssertionError("nothing should have been run")


def scores_of(found: list[ScoreRecord]) -> dict[str, tuple[float | None, str]]:
    return {score.metric: (score.value, score.explanation) for score in found}


def test_an_answer_without_code_fails_with_that_explanation():
    missing = "the answer has no Python code block"
    found = score_execution(record("Just halve it."), execute=never)
    assert scores_of(found) == {"compiles": (0.0, missing), "passed": (0.0, missing)}


def test_code_that_does_not_compile_is_not_run():
    found = score_execution(record(code("def halve(n)\n    return n")), execute=never)
    assert scores_of(found) == dict.fromkeys(("compiles", "passed"), (0.0, "SyntaxError in line 1: expected ':'"))


def test_every_call_that_finished_has_its_result():
    outcomes = Outcome(value="2"), Outcome(raised="NameError", message="name 'x'\nis not defined")
    found = score_execution(record(GOOD), execute=scripted(*outcomes, status="cpu-limit", detail="too long"))
    results = CallResult(True, "2"), CallResult(False, None, "NameError", "name 'x' is not defined")
    assert found[1].results == results


def test_without_tests_passing_is_unscored_and_nothing_is_run():
    found = score_execution(record(GOOD, tests=()), execute=never)
    assert scores_of(found) == {
        "compiles": (1.0, "the code compiles"),
        "passed": (None, "unscored: the prompt has no tests"),
    }


def test_the_first_failing_test_is_explained():
    run = scripted(Outcome("2"), Outcome("3.5"), Outcome(None, "KeyError", "x"))
    found = scores_of(score_execution(record(GOOD), execute=run))
    assert found["passed"] == (0.0, "halve(7) returned 3.5, expected 3")


def test_an_exception_is_explained_with_its_message():
    run = scripted(Outcome("2"), Outcome("3"), Outcome(None, "ValueError", "no\nnumber\x1b[31m"))
    found = scores_of(score_execution(record(GOOD), execute=run))
    assert found["passed"] == (0.0, 'halve("x") raised ValueError: no number [31m, expected TypeError')


@pytest.mark.parametrize(
    "execution, expected",
    [
        (Execution("cpu-limit", (Outcome("2"),), "limit reached"), "cpu-limit before halve(7) ended: limit reached"),
        (Execution("crashed", (Outcome("9"),), "killed"), "halve(4) returned 9, expected 2"),
        (Execution("load-error", (), "NameError: x"), "load-error: NameError: x"),
        (
            Execution("crashed", (Outcome("2"), Outcome("3"), Outcome(None, "TypeError")), "late output"),
            "crashed: late output",
        ),
    ],
)
def test_an_early_end_is_explained(execution, expected):
    assert explain(execution, TESTS) == expected


def test_long_values_are_cut():
    long = explain(Execution("completed", (Outcome("9" * 10_000),)), TESTS[:1])
    assert len(long) < 2 * SHOWN and "..." in long


@pytest.mark.parametrize(
    "program, expected",
    [
        ("x = 1", ""),
        ("return 1", "SyntaxError in line 1: 'return' outside function"),
        ("x = 1 is 1", ""),
        ("a\0b", "source code string cannot contain null bytes"),
        ("x = " + "(" * 300 + ")" * 300, "SyntaxError in line 1: too many nested parentheses"),
        ("x = " + "-" * 100_000 + "1", "Error"),
    ],
)
def test_what_keeps_a_program_from_compiling(program, expected, recwarn):
    assert compile_error(program) == expected or (expected and expected in compile_error(program))
    assert not recwarn.list


VERDICTS = [
    (GOOD, 1.0, 1.0, "all 3 tests pass"),
    (code("def halve(n):\n    return n / 2"), 1.0, 0.0, "halve(7) returned 3.5, expected 3"),
    (code("def halve(n):\n    return int(n) // 2"), 1.0, 0.0, 'halve("x") raised ValueError'),
    (code("def half(n):\n    return n // 2"), 1.0, 0.0, "halve"),
    (code("import nowhere\ndef halve(n):\n    return n // 2"), 1.0, 0.0, "load-error: ModuleNotFoundError"),
    (code("def halve(n):\n    while n:\n        pass"), 1.0, 0.0, "cpu-limit before halve(4) ended"),
    (code("def halve(n):\n    raise SystemExit(0)"), 1.0, 0.0, "halve(4) raised SystemExit"),
    (code("def halve(n):\nreturn n"), 0.0, 0.0, "IndentationError in line 2"),
]


@pytest.mark.parametrize("answer, compiles, passed, expected", VERDICTS)
def test_verdicts_of_the_real_sandbox_can_be_recomputed(answer, compiles, passed, expected):
    first, again = (SCORERS["execution"](record(answer)) for _ in range(2))
    assert first == again
    found = scores_of(first)
    assert (found["compiles"][0], found["passed"][0]) == (compiles, passed)
    assert expected in found["passed"][1]


class Scripted:
    """An error type that says what it is told to, and keeps what it was asked."""

    name, level = "scripted", "static"

    def __init__(self, verdict: Finding | Unscored) -> None:
        self.verdict = verdict
        self.asked: list[Any] = []

    def recognise(
        self, response: str, *, reference: str | None = None, tests: Any = (), prompt: str | None = None
    ) -> Finding | Unscored:
        self.asked.append((response, reference, tests))
        return self.verdict


def test_one_score_per_error_type_with_the_place_and_the_reason():
    types: Any = {
        "loops": Scripted(Finding(True, "nothing changes n", 10, 25)),
        "imports": Scripted(Finding(False, "every import is used")),
        "comments": Scripted(Unscored("there is no reference")),
    }
    assert score_errors(record(GOOD), error_types=types) == [
        ScoreRecord("p1", "errors/loops", 1.0, "present: nothing changes n", 10, 25),
        ScoreRecord("p1", "errors/imports", 0.0, "absent: every import is used"),
        ScoreRecord("p1", "errors/comments", None, "unscored: there is no reference"),
    ]


def errors_in(answer: str) -> dict[str, float | None]:
    found = SCORERS["errors"](record(answer, reference=GOOD))
    return {score.metric.removeprefix("errors/"): score.value for score in found}


def test_every_error_type_is_scored():
    assert errors_in(GOOD) == dict.fromkeys(ERROR_TYPES, 0.0)
    assert errors_in(code("import os\ndef halve(n):\n    return n // 2"))["unused-imports"] == 1.0


@pytest.mark.parametrize("answer", [GOOD.replace("n):", "n)"), GOOD + "\n\n" + code("halve(4")])
def test_of_code_that_does_not_compile_nothing_but_that_is_known(answer):
    found = {name: value for name, value in errors_in(answer).items() if name not in PROSE}
    assert found == {name: 1.0 if name == "minor-syntax-errors" else None for name in ERROR_TYPES if name not in PROSE}


@pytest.mark.parametrize("reference, expected", [("the good answer", "the good answer"), ("", None)])
def test_recognisers_get_the_reference_or_none(reference, expected):
    asked: Any = Scripted(Finding(False, "fine"))
    score_errors(record(GOOD, reference=reference), error_types={"x": asked})
    assert asked.asked == [(GOOD, expected, TESTS)]


@pytest.mark.parametrize("answer", ["", "prose only", GOOD, code("def halve(n)\n"), "```python\nunclosed = ("])
@pytest.mark.parametrize("scorer", SCORERS)
def test_every_score_of_every_scorer_is_a_share_or_unscored_and_explained(scorer, answer):
    for score in SCORERS[scorer](record(answer, reference=GOOD)):
        assert score.id == "p1"
        assert score.value is None or 0 <= score.value <= 1
        assert score.value in (0.0, 1.0, None) or score.metric.startswith("distance/")
        assert score.explanation


DISTANCES = [
    (GOOD, GOOD, 0.0, 0.0),
    (code("ab"), code("ac"), 1 / 3, 1 / 16),
    ("", code("ab"), 1.0, 1.0),
    ("prose", "words", None, 4 / 5),
    (GOOD, "", None, None),
]
"""Of "ab" and its line break one of three characters differs, of its block one of sixteen."""


@pytest.mark.parametrize("answer, reference, of_code, of_text", DISTANCES)
def test_distances_to_the_good_answer(answer, reference, of_code, of_text):
    found = {score.metric: score.value for score in score_distance(record(answer, reference=reference))}
    assert found == {"distance/code": of_code, "distance/text": of_text}


@given(st.text("ab", max_size=6), st.text("ab", max_size=6))
def test_the_distance_is_levenshteins(left, right):
    found = score_distance(record(left, reference=right or "c"))[1].value
    assert found == levenshtein(left, right or "c") / max(len(left), len(right or "c"))


def levenshtein(left, right):
    """By its definition."""
    if not left or not right:
        return len(left) + len(right)
    if left[0] == right[0]:
        return levenshtein(left[1:], right[1:])
    return 1 + min(levenshtein(left[1:], right), levenshtein(left, right[1:]), levenshtein(left[1:], right[1:]))


def test_a_continuation_is_compared_as_the_program_that_it_completes():
    prompt = 'def halve(n):\n    """Half."""\n'
    made = GenerationRecord(
        "p1", prompt, "    return n // 2\n", "stop", 1, 1, code(f"{prompt}    return n // 2"), "humaneval", ()
    )
    assert score_distance(made)[0].value == 0


UNTOLD = (unscored("halve", "the checks cannot be told as calls: assert halve(1) > 0"),)


def test_tests_that_cannot_be_told_leave_an_answer_unscored():
    found = scores_of(score_execution(record(GOOD, tests=UNTOLD), execute=never))
    assert found["passed"] == (None, "unscored: the checks cannot be told as calls: assert halve(1) > 0")


FORMS = [
    ({"$equals": 2}, "2.0", True),
    ({"$equals": True}, "1", True),
    ({"$equals": 0.3}, "0.1 + 0.2", False),
    ({"$equals": {"$tuple": [1, 2]}}, "(1, 2)", True),
    ({"$equals": {"$tuple": [1, 2]}}, "[1, 2]", False),
    ({"$equals": [1, 2]}, "(1, 2)", False),
    ({"$equals": {"$dict": [[1, {"$set": [1, 2]}]]}}, "{1: {2, 1}}", True),
    ({"$equals": {"$dict": [["a", 1]]}}, "__import__('collections').Counter('a')", True),
    ({"$equals": {"$complex": [0, 1]}}, "1j", True),
    ({"$equals": 2}, "type('Equal', (), {'__eq__': lambda *_: True})()", False),
    ({"$near": 2, "$below": 0.5}, "2.4", True),
    ({"$near": 2, "$below": 0.5}, "2.5", False),
    ({"$near": 2, "$within": 0.5, "$relative": 0}, "2.5", True),
    ({"$near": 2, "$within": 0, "$relative": 0.5}, "4", True),
    ({"$near": 2, "$within": 0, "$relative": 0.5}, "'2'", False),
    ({"$near": 2, "$below": 0.5}, "float('nan')", False),
    ({"$near": 2, "$below": 0.5}, "type('Near', (), {'__sub__': lambda *_: 0})()", False),
    ({"$unscored": "why"}, "None", False),
    ({"$set": "is a value"}, "{'$set': 'is a value'}", True),
]


@pytest.mark.parametrize("expected, value, meets", FORMS)
def test_forms_of_what_is_expected(expected, value, meets):
    test = FunctionTest.of("f", expected=expected)
    assert passed(execute(f"def f():\n    return {value}\n", [test]), [test]) is meets


@pytest.mark.parametrize(
    "said", ['{"$set": [[1]]}', '{"$dict": [1]}', '{"$complex": ["1", 2]}', '{"$other": []}', "{}", "["]
)
def test_what_the_sandbox_would_not_write_is_not_equal(said):
    assert not met(said, FunctionTest.of("f", expected={"$equals": [1]}))


def test_what_python_calls_equal_is_explained_as_python():
    test = FunctionTest.of(
        "lambda given_0: tuple(halve(given_0))", 4, expected={"$equals": {"$tuple": [{"$set": [2]}]}}
    )
    program = code("def halve(n):\n    return [n, {3, 1}]")
    explanation = scores_of(score_execution(record(program, tests=(test,))))["passed"][1]
    assert explanation == "(lambda given_0: tuple(halve(given_0)))(4) returned (4, {1, 3}), expected ({2},)"


@pytest.mark.parametrize("answer, passes", [("    return n // 2\n\nprint(", 1.0), ("    return n / 3\n", 0.0)])
def test_an_answer_that_continues_a_program_is_run_with_it(answer, passes):
    """Both ways: HumanEval's prompts go on in the answer, and elsewhere such an answer has no code."""
    tests = (FunctionTest.of("halve", 4, expected={"$equals": 2}),)
    prompt = 'def halve(n):\n    """Half."""\n'
    given = [GenerationRecord("p1", prompt, answer, "stop", 1, 1, "", source, tests) for source in ("humaneval", "own")]
    completed, alone = (scores_of(score_execution(record)) for record in given)
    assert (completed["compiles"][0], completed["passed"][0]) == (1.0, passes)
    assert alone["passed"] == (0.0, "the answer has no Python code block")


def test_benchmarks_have_the_time_that_they_give(monkeypatch):
    """openai/human-eval waits three seconds."""
    asked = []
    monkeypatch.setattr(run, "execute", lambda program, tests, limits: asked.append(limits) or Execution("crashed"))
    for source in ("humaneval", "mbpp", "own"):
        score_execution(GenerationRecord("p1", "", GOOD, "stop", 1, 1, "", source, TESTS))
    assert [limits.cpu_seconds for limits in asked] == [3, 3, 1]
