"""Incorrect base cases: which functions recurse, where they end, what is changed, and what is found."""

from __future__ import annotations

import ast

import pytest

from pipeline import spans
from pipeline.errors.answers import code_of
from pipeline.errors.base import Case, Finding, Unscored, Verification
from pipeline.errors.base_cases import BaseCases
from pipeline.errors.edge_cases import EdgeCases
from pipeline.errors.endless import endless
from pipeline.errors.off_by_one import OffByOne
from pipeline.errors.recursion import base_cases, recursions
from pipeline.records import FunctionTest
from pipeline.sandbox.run import execute

BASE = BaseCases()
F = FunctionTest.of
START, END = "Sure 🎉\n\n```python\n", "```\nDone.\n"


def fenced(code: str) -> str:
    return START + code + END


def proposed(code: str) -> list[tuple[str, str]]:
    return [(edit.old, edit.new) for (edit,) in BASE.propose(fenced(code))]


def broken(code: str) -> list[str]:
    made = [spans.apply([edit], fenced(code)) for (edit,) in BASE.propose(fenced(code))]
    return [bad.removeprefix(START).removesuffix(END) for bad in made]


def recognised(code: str, reference: str | None = None) -> Finding | Unscored:
    return BASE.recognise(fenced(code), reference=fenced(reference) if reference is not None else None)


# Which functions recurse


@pytest.mark.parametrize(
    ("code", "names"),
    [
        ("def f(n): return f(n - 1)\n", ["f"]),
        ("def f(n): return g(n)\ndef g(n): return f(n)\ndef h(n): return f(n)\n", ["f", "g"]),
        ("class A:\n    def f(self): self.f()\n    def g(self): A.h()\n    def h(): A.g()\n", ["f", "g", "h"]),
        ("class A:\n    def f(me):\n        def g(n): return me.f()\n        return g(1)\n", ["f", "g"]),
        ("def f(n):\n    def go(k): return go(k - 1)\n    return go(n)\n", ["go"]),
        ("def f(n):\n    go = lambda: f(n - 1)\n    return [f(k) for k in n]\n", ["f"]),
        ("def f(f): return f(1)\n", []),
        ("class A:\n    def append(self, x): self.xs.append(x)\n", []),
        ("class A:\n    def f(self): return f()\ndef f(): return 1\n", []),
        ("class A:\n    @staticmethod\n    def f(node): return node.f()\n", []),
        ("def f(n): return 1\ndef f(n): return f(n - 1)\n", []),
    ],
)
def test_recursive_functions(code: str, names: list[str]) -> None:
    assert [recursion.function.name for recursion in recursions(ast.parse(code))] == names


@pytest.mark.parametrize(
    ("code", "values"),
    [
        (
            "def f(n):\n    if n in m: return m[n]\n    if n < 0: raise E\n    if n == 0: return 1\n    return f(n)\n",
            ["1"],
        ),
        ("def f(n):\n    if n > 0:\n        return f(n)\n    return 7\n", ["7"]),
        ("def f(n):\n    if n > 0:\n        x = f(n)\n    else:\n        return 7\n", ["7"]),
        ("def f(n):\n    return 1 if a else 2 if b else f(n)\n", ["1", "2"]),
        ("def f(n):\n    return f(n) if n else 3\n", ["3"]),
        ("def f(n):\n    if f(n): return 1\n    for x in n:\n        if x: return 2\n    return 3\n", ["2"]),
        ("def f(n):\n    if n: f(n)\n", []),
    ],
)
def test_base_cases(code: str, values: list[str]) -> None:
    (recursion,) = recursions(ast.parse(code))
    assert [ast.unparse(case.value) for case in base_cases(recursion) if case.value] == values


# Sites

POWER = "def f(n):\n    if n <= 0:\n        return 1\n    return f(n - 1) * 3\n"
GONE = "def f(n):\n    return f(n - 1) * 3\n"


def test_a_base_case_is_spoilt_in_its_test_its_value_or_altogether() -> None:
    gone = ("    if n <= 0:\n        return 1\n", "")
    assert proposed(POWER) == [gone, ("<=", "=="), ("1", "0"), ("1", "2")]
    assert proposed(POWER.replace("<=", "==")) == [
        (gone[0].replace("<=", "=="), ""), ("==", "!="), ("0", "-1"), ("0", "1"), ("1", "0"), ("1", "2"),
    ]  # fmt: skip
    assert broken(POWER)[0] == GONE
    assert proposed(POWER.replace("\n", "\r\n"))[0] == (gone[0].replace("\n", "\r\n"), "")


@pytest.mark.parametrize(
    ("code", "bad"),
    [
        (
            "def f(n):\n    if n == 0: return 0\n    elif n == 1: return 1\n    else: return f(n - 1)\n",
            "def f(n):\n    if n == 1: return 1\n    else: return f(n - 1)\n",
        ),
        (
            "def f(xs):\n\tif xs is None:\n\t\treturn []\n\telse:\n\t\t# 🎉\n\t\ty = f(xs)\n\n\t\treturn y\n",
            "def f(xs):\n\t# 🎉\n\ty = f(xs)\n\n\treturn y\n",
        ),
        (
            "def f(n):\n    if n:\n        return f(n - 1)\n    # done\n    else:  # 🎉\n        return True\n",
            "def f(n):\n    if n:\n        return f(n - 1)\n    # done\n",
        ),
        (
            "def f(n):\n    if n:\n        return f(n - 1)\n    return 0  # 🎉\n",
            "def f(n):\n    if n:\n        return f(n - 1)\n",
        ),
        (
            "def f(n):\n    if n:\n        x = f(n)\n    elif g(n):\n        return []\n    else:\n        x = f(1)\n",
            "def f(n):\n    if n:\n        x = f(n)\n    else:\n        x = f(1)\n",
        ),
        (
            "def f(n):\n    if n == 0:\n        return 0\n    else:\n        elif_x = f(1)\n        return elif_x\n",
            "def f(n):\n    elif_x = f(1)\n    return elif_x\n",
        ),
        ("def f(n):\n    return 1 if n < 2 else f(n - 1)\n", "def f(n):\n    return f(n - 1)\n"),
        ("def f(n):\n    return f(n - 1) if n else 's'\n", "def f(n):\n    return f(n - 1)\n"),
    ],
)
def test_the_branch_itself_goes(code: str, bad: str) -> None:
    assert bad in broken(code)
    assert recognised(bad, code).present  # type: ignore[union-attr]
    windows = code.replace("\n", "\r\n")
    assert bad.replace("\n", "\r\n") in broken(windows)


@pytest.mark.parametrize(
    ("returned", "wrong"),
    [("True", "False"), ("-1", "-2"), ("[]", "None"), ("[[]]", "[]"), ("n", "None"), ("'x', 2", "None"), ("0", "1")],
)
def test_wrong_values(returned: str, wrong: str) -> None:
    code = f"def f(n):\n    if not n:\n        return {returned}\n    return f(n[1:])\n"
    bad = code.replace(f"return {returned}\n", f"return {wrong}\n")
    assert bad in broken(code)
    assert recognised(bad, code).present  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "code",
    [
        "def f(n):\n    if n:\n        f(n - 1)\n",
        "def f(n):\n    if n < 2:\n        return 1\n    return n\n",
        "def f(n):\n    if n in memo:\n        return memo[n]\n    return f(n - 1)\n",
    ],
)
def test_without_a_base_case_there_is_no_site(code: str) -> None:
    assert proposed(code) == []


TREE = """class Tree:
    def size(self, node):
        if node is None or node == 3: return -1
        return self.size(node.left)
"""
MUTUAL = """def even(n):
    if n == 0:
        return True
    return odd(n - 1)
def odd(n):
    if n == 0:
        return False
    return even(n - 1)
"""
NESTED = """def f(xs):
    def go(k):
        if k >= len(xs):
            return 0
        return xs[k] + go(k + 1)
    return go(0)
"""
TWO_BASE_CASES = """def fib(n):
    if n == 0:
        return 0
    if n == 1:
        return 1
    return fib(n - 1) + fib(n - 2)
"""
OTHER_WAY_ROUND = """def f(n):
    if n > 0:
        return n + f(n - 1)
    else:
        return 0
"""
CONDITIONAL = """def f(n):
    return [] if not n else [n] + f(n - 1)
"""
SHAPES = [POWER, TREE, MUTUAL, NESTED, TWO_BASE_CASES, OTHER_WAY_ROUND, CONDITIONAL]


@pytest.mark.parametrize("code", SHAPES)
def test_every_proposed_edit_is_exact_and_recognised(code: str) -> None:
    answer = fenced(code)
    assert len(BASE.propose(answer)) > 2
    for (edit,) in BASE.propose(answer):
        bad = spans.apply([edit], answer)
        assert code_of(bad) is not None and spans.apply(spans.inverse([edit], answer), bad) == answer
        found = BASE.recognise(bad, reference=answer)
        assert isinstance(found, Finding) and found.present, (edit, found)
        assert found.start is not None and 0 <= found.start <= (found.end or 0) <= len(bad)


# Verification

CALLS = [F("f", 0, expected=1), F("f", 2, expected=9), F("f", -1, expected=1)]


def verified(good: str, bad: str, tests: list[FunctionTest]) -> Verification:
    return BASE.verify(Case("", fenced(good), fenced(bad), (), tuple(tests)), execute)


def test_a_missing_base_case_ends_in_recursion_errors() -> None:
    seen = verified(POWER, GONE, CALLS)
    assert seen == Verification(True, "executed", "differs on 3 of 3 tests, RecursionError on 3")
    seen = verified(POWER, POWER.replace("<=", "=="), CALLS)
    assert seen.reason == "differs on 1 of 3 tests, RecursionError on 1"


def test_a_cached_recursion_ends_too() -> None:
    cached = "from functools import cache\n@cache\n"
    assert verified(cached + POWER, cached + GONE, CALLS).reason.endswith("RecursionError on 3")


def test_a_wrong_value_is_a_difference_and_an_equivalent_test_is_none() -> None:
    assert verified(POWER, POWER.replace("return 1", "return 2"), CALLS).reason == "differs on 3 of 3 tests"
    seen = verified(POWER, POWER.replace("<=", "=="), CALLS[:2])
    assert (seen.confirmed, seen.reason) == (False, "equivalent: no difference on 2 tests")
    assert verified(POWER, GONE, []).reason == "there are no tests to run"


# Recognition


def test_a_boundary_that_is_off_by_one_is_no_other_error() -> None:
    bad = POWER.replace("<=", "<")
    assert recognised(bad, POWER) == Finding(False, "every base case is the good answer's")
    assert OffByOne().recognise(fenced(bad), reference=fenced(POWER)).present  # type: ignore[union-attr]


def test_a_guard_of_mutual_recursion_is_a_base_case() -> None:
    bad = MUTUAL.replace("    if n == 0:\n        return True\n", "")
    assert recognised(bad, MUTUAL).present  # type: ignore[union-attr]
    assert EdgeCases().propose(fenced(MUTUAL)) == []
    assert not EdgeCases().recognise(fenced(bad), reference=fenced(MUTUAL)).present  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "code",
    [
        GONE,
        "def f(n):\n    if n:\n        return f(n)\n    else:\n        return 1 + f(n - 1)\n",
        "def f(n):\n    if n:\n        print(n)\n    with a:\n        f(n - 1)\n",
        "def f(n):\n    return g(n)\ndef g(n):\n    return f(n)\n",
        "class A:\n    def f(self, n):\n        x = [y for y in self.f(n)]\n        return x\n",
    ],
)
def test_a_missing_base_case_needs_no_reference(code: str) -> None:
    found = recognised(code)
    assert isinstance(found, Finding) and found.present and "no base case" in found.explanation
    assert fenced(code)[found.start : found.end].startswith("def f(")


@pytest.mark.parametrize(
    "code",
    [
        POWER,
        "def f(n):\n    return n and f(n - 1)\n",
        "def f(n):\n    for x in n:\n        f(x)\n",
        "def f(n):\n    return [f(x) for x in n]\n",
        "def f(n):\n    if not n:\n        exit()\n    f(n - 1)\n",
        "def f(n):\n    while n:\n        break\n    try:\n        f(n)\n    except E:\n        pass\n",
        "def f(n):\n    yield n\n    yield from f(n + 1)\n",
        "@app.route('/')\ndef f(n):\n    return f(n)\n",
        "def f(n):\n    return g(n)\ndef g(n):\n    return f(n - 1) if n else 0\n",
        "def f(n):\n    assert n\n    return f(n - 1)\n",
        "def f(n):\n    return lambda: f(n)\n",
    ],
)
def test_what_may_end_is_not_called_endless(code: str) -> None:
    assert endless(ast.parse(code)) is None


@pytest.mark.parametrize(
    "other",
    [
        POWER.replace("<= 0", "< 1"),
        POWER.replace("<= 0", "== 0").replace("return 1", "return 3"),
        "def f(n):\n    if n > 0:\n        return f(n - 1) * 3\n    return 1\n",
    ],
)
def test_a_base_case_that_may_be_right_is_unscored(other: str) -> None:
    assert isinstance(recognised(other, POWER), Unscored)


def test_the_more_careful_comparison_is_no_error() -> None:
    good = POWER.replace("<=", "==")
    assert isinstance(recognised(POWER, good), Unscored)
    assert recognised(good, POWER).present  # type: ignore[union-attr]


def test_recognition_without_recursion_reference_or_code() -> None:
    assert recognised("def f(n):\n    return 3 ** n\n") == Finding(False, "no function calls itself")
    assert isinstance(recognised(POWER), Unscored)
    assert recognised(POWER.replace("(n", "(count").replace("n <", "count <"), POWER) == Finding(
        False, "every base case is the good answer's"
    )
    assert isinstance(BASE.recognise("prose"), Unscored)
