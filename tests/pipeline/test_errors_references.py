"""Wrong references: which variables could be taken for each other, which names prose can miss, and what is found."""

from __future__ import annotations

import pytest

from pipeline import spans
from pipeline.errors.answers import code_of
from pipeline.errors.base import Case, Finding, Unscored, Verification
from pipeline.errors.contextual_references import ContextualReferences
from pipeline.records import FunctionTest
from pipeline.sandbox.run import execute

REFERENCES = ContextualReferences()
F = FunctionTest.of

CODE = """def count_above(values, limit):
    total = 0
    for value in values:
        if value > limit:
            total += 1
    return total
"""
ANSWER = f"""Use `count_above(values, 3)` 🎉, which counts into `total`; see `len` and `numpy`.

```python
{CODE}```

`count_above` looks at each of `values` once. Not `values[0]`, and ``limit`` is no name.
"""


def fenced(code: str) -> str:
    return f"Sure 🎉\n\n```python\n{code}```\nDone.\n"


def proposed(code: str) -> list[tuple[str, str]]:
    return [(edit.old, edit.new) for (edit,) in REFERENCES.propose(fenced(code))]


# Sites


def test_variables_of_one_kind_are_swapped_where_both_have_a_value() -> None:
    swaps = proposed(CODE)
    assert ("limit", "total") in swaps and ("total", "limit") in swaps
    assert not any("values" in pair for pair in swaps)  # nothing else is a list


@pytest.mark.parametrize(
    ("code", "edits"),
    [
        ("def f(a: str, b: str, n: int):\n    return a + 'x'\n", [("a", "b")]),
        ("def f(xs, ys):\n    return len(xs)\n", [("xs", "ys")]),
        ("def f(n):\n    return n\n    k = 1\n", []),  # no value yet
        ("def f(n):\n    if n:\n        k = 1\n    return n\n", []),  # not on every path
        ("def f(n, k):\n    return [k for k in range(n)]\n", []),
        ("def f(n, k):\n    return f'{n}'\n", []),
        ("def f(n, k):\n    while n > 0:\n        n -= k\n", []),
        ("def f(self, n):\n    return self\n", []),
    ],
)
def test_swaps(code: str, edits: list[tuple[str, str]]) -> None:
    assert [pair for pair in proposed(code) if pair in edits or not edits] == edits


def test_names_in_prose_are_renamed_to_what_is_not_there() -> None:
    before, after = ANSWER.index("```python"), ANSWER.index("```\n\n")
    prose = [edit for (edit,) in REFERENCES.propose(ANSWER) if not before < edit.start < after]
    assert [(edit.old, edit.new) for edit in prose] == [
        ("count_above", "above_count"),
        ("count_above", "get_count_above"),
        ("total", "new_total"),
        ("total", "total_list"),
        ("count_above", "above_count"),
        ("count_above", "get_count_above"),
        ("values", "new_values"),
        ("values", "values_list"),
    ]
    assert "new_total" not in {edit.new for (edit,) in REFERENCES.propose(ANSWER, "Call it new_total.")}


def test_every_proposal_is_exact_and_recognised() -> None:
    assert len(REFERENCES.propose(ANSWER)) > 8
    assert not REFERENCES.recognise(ANSWER, reference=ANSWER).present  # type: ignore[union-attr]
    for edits in REFERENCES.propose(ANSWER):
        bad = spans.apply(edits, ANSWER)
        assert code_of(bad) is not None and spans.apply(spans.inverse(edits, ANSWER), bad) == ANSWER
        found = REFERENCES.recognise(bad, reference=ANSWER)
        assert isinstance(found, Finding) and found.present and found.start is not None
        shifted = spans.spans_of(edits, ANSWER)[1][0]
        assert (found.start, found.end) == (shifted.start, shifted.end), edits


# Verification

TESTS = (F("count_above", [1, 5], 3, expected=1), F("count_above", [], 3, expected=0))


def verified(bad: str, tests: tuple[FunctionTest, ...] = TESTS) -> Verification:
    return REFERENCES.verify(Case("", ANSWER, bad, (), tests), execute)


def test_a_swap_is_proven_by_a_difference() -> None:
    assert verified(ANSWER.replace("return total", "return limit")) == Verification(
        True, "executed", "differs on 2 of 2 tests"
    )
    seen = verified(ANSWER.replace("> limit", "> total"), TESTS[1:])
    assert (seen.confirmed, seen.reason) == (False, "equivalent: no difference on 1 tests")
    assert verified(ANSWER.replace("return total", "return limit"), ()).reason == "there are no tests to run"


def test_a_name_in_prose_is_proven_against_the_code() -> None:
    bad = ANSWER.replace("`total`", "`new_total`")
    expected = Verification(True, "static", "`new_total` is nowhere in the code, which is the same")
    assert verified(bad, ()) == expected
    assert REFERENCES.verify(Case("", ANSWER, bad, ()), None) == expected
    assert REFERENCES.verify(Case("Call it new_total.", ANSWER, bad, ()), None).confirmed is False
    assert not verified(ANSWER.replace("`total`", "`limit`")).confirmed
    assert (
        REFERENCES.verify(Case("", ANSWER, ANSWER.replace("return total", "return limit"), ()), None).level == "static"
    )


# Recognition


@pytest.mark.parametrize(
    "prose",
    [
        "`count_above` and `limit` and `value`",
        "`range(3)`, `append`, `ValueError`, `None`, `self`, `functools`, `O(n)`",
        "`pip`, `numpy`, `pandas.DataFrame`, `x + y`, `list_comprehension`, `Python`",
        "``new_total`` and ```new_total```",
        "```text\n`new_total`\n```\n",
    ],
)
def test_names_that_need_not_be_in_the_code(prose: str) -> None:
    found = REFERENCES.recognise(f"{prose}\n{fenced(CODE)}", reference=fenced(CODE))
    assert found == Finding(False, "every name is there, and is the good answer's")


@pytest.mark.parametrize("name", ["new_total", "count_below", "totals(x)", "solve(3)", "valeus"])
def test_names_that_are_nowhere(name: str) -> None:
    answer = f"Call `{name}`.\n{fenced(CODE)}"
    found = REFERENCES.recognise(answer)
    assert isinstance(found, Finding) and found.present
    assert answer[found.start : found.end] == name.partition("(")[0]
    told = REFERENCES.recognise(answer, prompt=f"Write {name}", reference=fenced(CODE))
    assert isinstance(told, Finding) and not told.present


def test_a_misspelt_variable_is_a_wrong_reference_and_a_missing_import_is_none() -> None:
    found = REFERENCES.recognise(fenced(CODE.replace("return total", "return totall")))
    assert isinstance(found, Finding) and found.present and found.explanation == "nothing gives `totall` a value"
    for missing in ("deque", "math", "List"):
        code = f"lists = queue = 1\nmatch = {missing}\n" + CODE
        assert isinstance(REFERENCES.recognise(fenced(code)), Unscored), missing


def test_misuse_is_relative() -> None:
    bad = CODE.replace("> limit", "> total").replace("value", "größe")
    found = REFERENCES.recognise(fenced(bad), reference=fenced(CODE))
    assert isinstance(found, Finding) and found.present and fenced(bad)[found.start : found.end] == "total"
    assert found.explanation == "`total` where the good answer has `limit`"
    assert isinstance(REFERENCES.recognise(fenced(bad)), Unscored)
    twice = bad.replace("return total", "return limit")
    assert isinstance(REFERENCES.recognise(fenced(twice), reference=fenced(CODE)), Unscored)
    assert isinstance(REFERENCES.recognise("prose", reference=fenced(CODE)), Unscored)
