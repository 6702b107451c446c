"""Asserts become calls: derived by hand, and held against the benchmark's own checks on broken solutions."""

from __future__ import annotations

import ast
from typing import Any

import pytest
from benchmark_files import humaneval, humaneval_rows, needs_humaneval

from pipeline import spans
from pipeline.errors import ERROR_TYPES
from pipeline.errors.answers import program_of
from pipeline.failures import UserError
from pipeline.records import FunctionTest, QARecord
from pipeline.sandbox import run, values
from pipeline.sandbox.run import execute, passed
from pipeline.sources import asserts
from pipeline.sources.asserts import Checks, as_tests

REFERENCE = """
from typing import List

def rotate(items, by=1):
    return items[0] if by is None else items[by:] + items[:by]

def poly(xs, x):
    return sum(c * x**i for i, c in enumerate(xs))

class Point:
    def __init__(self, x): self.x = x
"""


def told(body: str, reference: str = REFERENCE, before: str = "") -> tuple[FunctionTest, ...]:
    return as_tests(Checks("candidate", ast.parse(body).body, ast.parse(before).body), "rotate", reference)


def call(*arguments: Any, expected: Any, called: str = "rotate") -> FunctionTest:
    return FunctionTest.of(called, *arguments, expected=expected)


IMPORTED = "__import__('importlib').import_module('datetime')"

SAID = [
    ("assert candidate([1, 2], 1) == [2, 1]", call([1, 2], 1, expected={"$equals": [2, 1]})),
    ("assert 'ba' == candidate('ab'), candidate('')", call("ab", expected="ba")),
    ("assert candidate('ab', by=1) == None",
     call("ab", 1, called="lambda given_0, given_1: rotate(given_0, by=given_1)", expected=None)),
    ("assert candidate([1]) is True", call([1], expected=True)),
    ("assert candidate((1, 2)) == (2, 1)",
     call(called="lambda: rotate((1, 2))", expected={"$equals": {"$tuple": [2, 1]}})),
    ("assert candidate([{1: 3 * 19}], None) == {1: 57}",
     call(None, called="lambda given_0: rotate([{1: 57}], given_0)", expected={"$equals": {"$dict": [[1, 57]]}})),
    ("assert not candidate([])", call([], called="lambda given_0: bool(rotate(given_0))", expected=False)),
    ("assert abs(candidate([0.5], None) - 2 / 4) < 1e-6", call([0.5], None, expected={"$near": 0.5, "$below": 1e-6})),
    ("assert 0.1 >= abs(2 - candidate([1]))", call([1], expected={"$near": 2, "$within": 0.1, "$relative": 0})),
    ("import math\nassert math.isclose(candidate([4], None), 4, rel_tol=0.001)",
     call([4], None, expected={"$near": 4, "$within": 0, "$relative": 0.001})),
    ("assert set(candidate([1, 2])) == {2, 1}",
     call([1, 2], called="lambda given_0: set(rotate(given_0))", expected={"$equals": {"$set": [1, 2]}})),
    ("assert candidate([1, 2])[0] == 2",
     call([1, 2], 0, called="lambda given_0, given_1: rotate(given_0)[given_1]", expected={"$equals": 2})),
    ("assert candidate('abc')[1:] == 'ca'",
     call("abc", 1, called="lambda given_0, given_1: rotate(given_0)[given_1:]", expected="ca")),
    ("assert len(candidate([Point(1)])) == 1", call(called="lambda: len(rotate([Point(1)]))", expected={"$equals": 1})),
    ("import datetime\nassert str(candidate([datetime.date(2, 1, 1)], None)) == '0002-01-01'",
     call(None, called=f"lambda given_0: str(rotate([{IMPORTED}.date(2, 1, 1)], given_0))", expected="0002-01-01")),
    ("assert candidate(candidate('abc')) == 'cab'",
     call("abc", called="lambda given_0: rotate(rotate(given_0))", expected="cab")),
    ("assert '-'.join(candidate('ab')) == 'b-a'",
     call("ab", "-", called="lambda given_0, given_1: given_1.join(rotate(given_0))", expected="b-a")),
]  # fmt: skip


@pytest.mark.parametrize("body, expected", SAID)
def test_what_an_assert_says(body: str, expected: FunctionTest) -> None:
    assert told(body) == (expected,)


def test_a_function_may_be_called_as_a_builtin_one() -> None:
    checks = Checks("sum", ast.parse("assert sum([{1, 2}, {}], 6) == 3\nassert sum([5], 0) == sorted([5])[0]").body)
    assert as_tests(checks, "sum", "def sum(items, start):\n    return 3 if start else 5") == (
        call(6, called="lambda given_0: sum([{1, 2}, {}], given_0)", expected={"$equals": 3}),
        call([5], 0, called="sum", expected={"$equals": 5}),
    )


def test_several_asserts_in_one_and_again_are_told_once() -> None:
    body = "assert candidate('ab') == 'ba' and candidate('') == ''\nassert True, 'fine'\nassert candidate('') == ''"
    assert told(body) == (call("ab", expected="ba"), call("", expected=""))


def test_loops_and_helpers_are_run_and_numbers_drawn() -> None:
    body = """
import random
letters = "xyz"
for i in range(2, 4):
    text = letters[:i] + str(random.randint(5, 5))
    result = candidate(text)
    text = "changed"
    assert result == rotate(letters[:i] + "5")
    if i == 3:
        assert result[0] == "y"
"""
    first = call("xyz5", 0, called="lambda given_0, given_1: rotate(given_0)[given_1]", expected="y")
    assert told(body) == (call("xy5", expected="y5x"), call("xyz5", expected="yz5x"), first)


def test_arguments_are_those_at_the_call() -> None:
    """HumanEval/32 in small: a result that a function of the prompt is asked about, with arguments changed since."""
    body = """
import copy, math
xs = [1, 2]
root = candidate(copy.deepcopy(xs), 0)
xs.append(3)
assert math.fabs(poly(xs, root)) < 100
"""
    reference = REFERENCE.replace("items[by:] + items[:by]", "items[by]")
    called = "lambda given_0, given_1, given_2: poly(given_0, rotate(given_1, given_2))"
    made = call([1, 2, 3], [1, 2], 0, called=called, expected={"$near": 0, "$below": 100})
    assert told(body, reference) == (made,)
    seen = execute(reference, [made])
    assert passed(seen, [made]) and seen.outcomes[0].value == "6"


CANNOT = [
    ("assert candidate('a') == candidate('b')", "two calls"),
    ("assert candidate([1]) != [2]", "no equality"),
    ("assert candidate([1]) > 3", "no equality"),
    ("assert 1 < candidate([1]) < 3", "several values in a row"),
    ("assert all(candidate(x) for x in 'ab')", "comprehension"),
    ("assert candidate('a') == 'a' or candidate('b') == 'c'", "no equality"),
    ("def same(a, b): return a == b\nassert same(candidate('a'), 'a')", "is neither JSON nor a Python literal"),
    ("a, b = candidate('ab')\nassert a == 'b'", "no single name"),
    ("candidate('a').sort()", "outside an assert"),
    ("f = candidate\nassert f('a') == 'a'", "no single call"),
    ("x = candidate('a')\nfor i in 'ab':\n    assert x == 'a'\n    x = candidate('b')", "no single call"),
    ("assert candidate('a') == object", "no Python literal"),
    ("assert candidate('a') == missing", "NameError"),
    ("while True:\n    assert candidate('a') == 'a'", "2000"),
    ("class Other: pass\nassert candidate(Other()) == 'a'", "is neither JSON nor a Python literal"),
]


@pytest.mark.parametrize("body, why", CANNOT)
def test_what_cannot_be_told_is_unscored_as_a_whole_and_says_why(body: str, why: str) -> None:
    [test] = told(f"assert candidate('') == ''\n{body}")
    assert why in values.why_unscored(test) and not values.met("null", test)


def test_plain_asserts_need_no_sandbox(monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(*_: Any) -> Any:
        raise UserError("environment", "code cannot be isolated here")

    monkeypatch.setattr(asserts, "execute", denied)
    assert told("assert candidate('ab') == 'ba'") == (call("ab", expected="ba"),)
    with pytest.raises(UserError, match="isolated"):
        told("assert candidate('a' + 'b') == 'ba'")


@pytest.mark.parametrize(
    "program", ["assert candidate('ab') == 'ba'", "x = ['a', 'b']\nassert candidate(x) == ['b', 'a']"]
)
def test_reading_and_running_say_the_same(program: str, monkeypatch: pytest.MonkeyPatch) -> None:
    read = told(program)
    monkeypatch.setattr(asserts, "_read", lambda *_: None)
    assert told(program) == read


# HumanEval: the figures that the data's own checks give


@needs_humaneval
def test_every_humaneval_row_has_tests_and_none_is_unscored() -> None:
    assert all(row.tests and not any(map(values.why_unscored, row.tests)) for row in humaneval())
    asserted = sum(row["test"].count("assert ") for row in humaneval_rows().values())
    print(f"{sum(len(row.tests) for row in humaneval())} tests of {asserted} asserts, as they stand in the file")


def without_its_last_line(row: QARecord) -> str:
    given = humaneval_rows()[row.id]
    return str(given["prompt"] + "\n".join(given["canonical_solution"].rstrip().split("\n")[:-1]))


@needs_humaneval
def test_every_reference_solution_passes_and_none_without_its_last_line(record_property: Any) -> None:
    fails = [row.id for row in humaneval() if not passed(execute(program_of(row.response), row.tests), row.tests)]
    still = [row.id for row in humaneval() if passed(execute(without_its_last_line(row), row.tests), row.tests)]
    record_property("humaneval", [164 - len(fails), 164 - len(still)])
    print(f"{164 - len(fails)} of 164 pass, {164 - len(still)} of 164 fail without the last line")
    assert not fails and not still


OFFICIAL = """
def kintsugi_official():
    check({name})
    return "passed"
"""


def official(program: str, row: QARecord) -> bool:
    """What the benchmark's own check says, run as it is: only of code that does not lie."""
    given = humaneval_rows()[row.id]
    whole = f"{program}\n{given['test']}\n{OFFICIAL.format(name=given['entry_point'])}"
    test = FunctionTest.of("kintsugi_official", expected="passed")
    return passed(execute(whole, [test], run.Limits(cpu_seconds=3)), [test])


CHANGES = ("tuple", "list", "float", "bool", "str", "(lambda x: x + 1e-7)", "(lambda x: x + 1e-5)")


def broken(row: QARecord) -> list[str]:
    """Programs that are wrong in small ways, or in the type of what they give."""
    name = humaneval_rows()[row.id]["entry_point"]
    code = program_of(row.response)
    turned = [f"{code}\nkintsugi_right = {name}\ndef {name}(*given):\n    return {how}(kintsugi_right(*given))\n"
              for how in CHANGES]  # fmt: skip
    edits = [
        found
        for kind in ("off-by-one-errors", "improper-handling-of-edge-cases", "omitting-necessary-imports")
        for found in ERROR_TYPES[kind].propose(row.response, row.prompt)[:4]
    ]
    return [*turned, *(program_of(spans.apply(found, row.response)) for found in edits)]


@needs_humaneval
@pytest.mark.extensive
def test_tests_and_the_benchmarks_own_checks_agree_on_broken_solutions(record_property: Any) -> None:
    seen, apart = 0, []
    for row in humaneval():
        for program in broken(row):
            seen += 1
            ours = passed(execute(program, row.tests, run.Limits(cpu_seconds=3)), row.tests)
            if ours != official(program, row):
                apart.append((row.id, ours, program[-160:]))
    record_property("agreement", [seen - len(apart), seen])
    print(f"{seen - len(apart)} of {seen} verdicts agree", apart)
    assert not apart
