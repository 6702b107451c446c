"""Inputs for answers without tests: what parameters take, which values are tried, and which tests are kept."""

from __future__ import annotations

import ast
import json
from collections.abc import Sequence
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors.edge_inputs import is_edge_case
from pipeline.errors.inputs import made_tests, shown_calls
from pipeline.errors.shapes import ANY, BOOL, FLOAT, INT, STR, Pool, Shape, dict_of, edges, is_json, list_of, mutated
from pipeline.errors.signatures import parameters
from pipeline.records import FunctionTest
from pipeline.sandbox.run import Execution, execute, passed

F = FunctionTest.of


def fenced(code: str) -> str:
    return f"Sure 🎉\n\n```python\n{code}```\nDone.\n"


def shapes(code: str) -> list[Shape]:
    (function,) = ast.parse(code).body
    assert isinstance(function, ast.FunctionDef)
    return parameters(function)


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("def f(a: int, b: 'str', c: List[float]): pass", [INT, STR, list_of(FLOAT)]),
        ("def f(a: Optional[dict[str, int]], b: str | None, c: list): pass", [dict_of(INT), STR, list_of(INT)]),
        ("def f(a: list[list[str]]): pass", [list_of(list_of(STR))]),
        ("def f(a, b=3, c='x', d=True, e=[0.5]): pass", [INT, INT, STR, BOOL, list_of(FLOAT)]),
        ("def f(q): return q.split()", [STR]),
        ("def f(q): return q.items()", [dict_of(INT)]),
        ("def f(q): return q % 2 == 0", [INT]),
        ("def f(q): return q > 0.5", [FLOAT]),
        ("def f(q): return [w.upper() for w in q]", [list_of(STR)]),
        ("def f(q):\n for row in q:\n  for x in row: x + 1", [list_of(list_of(INT))]),
        ("def f(q): return q['a']", [dict_of(INT)]),
        ("def f(q): return 'a' in q", [STR]),
        ("def f(q): return sum(q)", [list_of(INT)]),
        ("def f(q): return q + 'x'", [STR]),
        ("def f(text, numbers, matrix, k): pass", [STR, list_of(INT), list_of(list_of(INT)), INT]),
        ("def f(thing): return g(thing)", [ANY]),
    ],
)
def test_shapes_of_parameters(code: str, expected: list[Shape]) -> None:
    assert shapes(code) == expected


ALL = st.sampled_from([INT, FLOAT, STR, BOOL, ANY, list_of(INT), list_of(STR), dict_of(INT), list_of(list_of(INT))])


@given(ALL, st.integers(0, 999))
def test_values_are_plain_and_typical_ones_are_no_edge_cases(shape: Shape, seed: int) -> None:
    pool = Pool(Random(seed), ["abc", ":"], [5])
    value = pool.ordinary(shape)
    assert is_json(value) and not is_edge_case(F("f", value))
    changed = mutated(value, Random(seed))
    assert is_json(changed) and type(changed) is type(value)
    for edge in edges(shape):
        assert is_json(edge) and is_edge_case(F("f", edge))


def test_what_is_no_json() -> None:
    assert not any(is_json(value) for value in [(1,), [(1,)], {"a": (1,)}, {1: 2}, {1}, float("nan"), 1j])


def test_calls_that_are_shown_are_inputs() -> None:
    text = 'Try f([1, (2)], "a)b") and >>> f(-1) == 2, f(x), f(1, k=2), f("a'
    assert list(shown_calls(text, "f")) == [[[1, 2], "a)b"], [-1]]


MEAN = """def mean(values):
    if not values:
        raise ValueError("empty")
    return sum(values) / len(values)
"""


def test_tests_are_made_of_typical_inputs_and_edge_cases() -> None:
    tests = made_tests(fenced(MEAN), execute)
    edge = [test for test in tests if is_edge_case(test)]
    assert F("mean", [], raises="ValueError") in edge and F("mean", [1], expected=1.0) in edge
    assert 5 <= len(edge) < len(tests) <= 26
    assert not any(test.raises == "TypeError" for test in tests)  # `mean(3)` says nothing on purpose
    assert passed(execute(MEAN, tests), tests)
    assert tests == made_tests(fenced(MEAN), execute) != made_tests(fenced(MEAN), execute, 1)


@pytest.mark.parametrize(
    "code",
    [
        "def f(xs: list):\n    xs.append(1)\n    return xs\n",
        "import random, itertools\nc = itertools.count()\ndef f(n: int):\n    return next(c)\n",
        "import random\ndef f(n: int):\n    return random.random()\n",
        "import time\ndef f(n: int):\n    return time.perf_counter()\n",
        "def f(n: int, seen=[]):\n    seen.append(n)\n    return seen\n",
        "def f(n: int):\n    return {n}\n",
        "def f(n: int):\n    yield n\n",
        "def f():\n    return 1\n",
        "def f(*, n):\n    return n\n",
        "class A:\n    def f(self, n):\n        return n\n",
        "raise SystemExit\ndef f(n: int):\n    return n\n",
    ],
)
def test_functions_that_tests_cannot_be_made_for(code: str) -> None:
    assert made_tests(fenced(code), execute) == ()


def test_other_functions_of_the_answer_are_tested_all_the_same() -> None:
    code = "def f(xs: list):\n    xs.append(1)\n    return xs\n\ndef g(n: int):\n    return [n, (n,)]\n"
    tests = made_tests(fenced(code), execute)
    assert {test.function for test in tests} == {"g"} and F("g", -1, expected=[-1, [-1]]) in tests
    assert made_tests("prose", execute) == ()


def test_inputs_that_run_into_a_limit_are_left_out_at_a_bounded_cost() -> None:
    code = "def f(n: int):\n    while n < 0:\n        pass\n    return n + 1\n"
    runs: list[Execution] = []

    def counted(code: str, tests: Sequence[FunctionTest]) -> Execution:
        runs.append(execute(code, tests))
        return runs[-1]

    tests = made_tests(fenced(code), counted)
    assert [run.status for run in runs][:2] == ["cpu-limit", "cpu-limit"] and len(runs) <= 4
    assert len(tests) > 10 and all(json.loads(test.arguments)[0] >= 0 for test in tests)


def test_constants_of_the_code_are_tried() -> None:
    code = "def f(text):\n    if text == 'open sesame':\n        return 1\n    return 0\n"
    assert F("f", "open sesame", expected=1) in made_tests(fenced(code), execute)
