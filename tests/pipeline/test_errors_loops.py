"""Infinite loops: what brings a loop to its end, what is taken away, what proves it, and what is found."""

from __future__ import annotations

import ast

import pytest

from pipeline import spans
from pipeline.errors.answers import code_of
from pipeline.errors.base import Case, Finding, Unscored, Verification
from pipeline.errors.infinite_loops import InfiniteLoops
from pipeline.errors.loops import never_ends
from pipeline.records import FunctionTest
from pipeline.sandbox.run import execute

LOOPS = InfiniteLoops()
F = FunctionTest.of


def fenced(code: str) -> str:
    return f"Sure 🎉\n\n```python\n{code}```\nDone.\n"


def proposed(code: str) -> list[tuple[str, str]]:
    return [(edit.old, edit.new) for (edit,) in LOOPS.propose(fenced(code))]


def recognised(code: str, reference: str | None = None, tests: list[FunctionTest] | None = None) -> Finding | Unscored:
    return LOOPS.recognise(fenced(code), reference=fenced(reference) if reference else None, tests=tests)


COUNT = "def f(n):\n    i = 0\n    while i < n:\n        print(i)\n        i += 1\n    return i\n"
DIGITS = """def f(n):
    k = 0
    while True:
        if n < 10:
            break
        n //= 10
        k = k + 1
    return k
"""
RENAMED = "def f(k):\n    j = 0\n    while j < k:\n        print(j)\n        j += 1\n    return j\n"
LATE_BREAK = DIGITS.replace("            break", "            k += 7\n            break")
QUEUE = "def f(xs):\n    while xs:\n        x = xs.pop()\n        xs.remove(x)\n        g(x)\n"


@pytest.mark.parametrize(
    ("code", "edits"),
    [
        (COUNT, [("        i += 1\n", ""), ("+", "-")]),
        (COUNT.replace("i += 1", "i = i + 1  # 🎉"), [("        i = i + 1  # 🎉\n", ""), ("+", "-")]),
        (COUNT.replace("i += 1", "i = 1 + i"), [("        i = 1 + i\n", "")]),
        (COUNT.replace("        print(i)\n", ""), [("+", "-")]),
        (COUNT.replace("\n", "\r\n"), [("        i += 1\r\n", ""), ("+", "-")]),
        (DIGITS, [("        if n < 10:\n            break\n", ""), ("        n //= 10\n", "")]),
        (LATE_BREAK, [("            break\n", ""), ("        n //= 10\n", "")]),
        (QUEUE, [("        xs.remove(x)\n", "")]),
        ("def f(n):\n    for i in range(n):\n        if i:\n            break\n        n += 1\n", []),
        ("def f(n):\n    while n: n -= 1; g(n)\n", [("-", "+")]),
        ("def f(a, b):\n    while b:\n        a, b = b, a % b\n    return a\n", []),
        ("while a:\n    for b in a:\n        break\n    c = 1\n", []),
    ],
)  # fmt: skip
def test_sites(code: str, edits: list[tuple[str, str]]) -> None:
    assert proposed(code) == edits


@pytest.mark.parametrize("code", [COUNT, DIGITS, QUEUE, COUNT.replace("i += 1", "i = i + 1")])
def test_every_proposal_is_exact_and_recognised(code: str) -> None:
    answer = fenced(code)
    assert not LOOPS.recognise(answer, reference=answer).present  # type: ignore[union-attr]
    for edits in LOOPS.propose(answer):
        bad = spans.apply(edits, answer)
        assert code_of(bad) is not None and spans.apply(spans.inverse(edits, answer), bad) == answer
        found = LOOPS.recognise(bad, reference=answer)
        assert isinstance(found, Finding) and found.present and found.start is not None
        assert 0 <= found.start <= (found.end or 0) <= len(bad)


# Verification


def verified(good: str, bad: str, tests: list[FunctionTest]) -> Verification:
    return LOOPS.verify(Case("", fenced(good), fenced(bad), (), tuple(tests)), execute)


def test_a_lost_step_runs_into_the_cpu_limit_where_the_good_answer_ends() -> None:
    seen = verified(COUNT, COUNT.replace("        i += 1\n", ""), [F("f", 0, expected=0), F("f", 3, expected=3)])
    assert seen == Verification(True, "executed", "f(3) does not end within the CPU limit, the good answer does")


def test_what_ends_all_the_same_is_unconfirmed() -> None:
    unchanged = COUNT.replace("        i += 1\n", "")
    assert verified(COUNT, unchanged, [F("f", 0, expected=0)]).reason == "every call ends (completed)"
    assert verified(COUNT, unchanged, []).reason == "there are no tests to run"
    assert "fails its own tests" in verified(COUNT, unchanged, [F("f", 3, expected=4)]).reason
    crashing = "def f(xs):\n    i = 0\n    while xs[i] > 0:\n        i += 1\n    return i\n"
    assert not verified(crashing, crashing.replace("+=", "-="), [F("f", [1, 0], expected=1)]).confirmed


def test_without_running_the_trees_must_differ() -> None:
    case = Case("", fenced(COUNT), fenced(COUNT.replace("        i += 1\n", "")), ())
    assert LOOPS.verify(case, None) == Verification(True, "static", "both compile and their trees differ; not run")
    assert not LOOPS.verify(Case("", fenced(COUNT), fenced(COUNT + "# x\n"), ()), None).confirmed


# Recognition in the answer alone


@pytest.mark.parametrize(
    "body",
    [
        "while i < n:\n    total += xs[i]",
        "while i < n:\n    i -= 1",
        "while n >= i:\n    i = i - 2",
        "while 0 < n:\n    n += 1",
        "while True:\n    total += 1",
        "while i != n:\n    print(i)\n    for k in range(3):\n        break",
        "while n:\n    for k in range(3):\n        if k:\n            continue",
        "while i < n:\n    xs.append(i)",
    ],
)
def test_loops_that_nothing_ends(body: str) -> None:
    code = "def f(i, n, xs, total):\n" + "".join(f"    {line}\n" for line in body.splitlines())
    found = recognised(code)
    assert isinstance(found, Finding) and found.present
    assert fenced(code)[found.start : found.end] == body.splitlines()[0].removesuffix(":")


@pytest.mark.parametrize(
    "body",
    [
        "while i < n:\n    i += 1",
        "while i < n:\n    i -= 1\n    n -= 2",
        "while i < n:\n    i -= k",
        "while i < n:\n    i, n = n, i",
        "while i < n:\n    break",
        "while i < n:\n    if k:\n        return 1",
        "while i < n:\n    raise ValueError",
        "while True:\n    serve(i)",
        "while True:\n    i = input()",
        "while True:\n    yield i",
        "while xs:\n    xs.pop()",
        "while xs:\n    ys.pop()",
        "while len(xs) < n:\n    xs.append(1)",
        "while xs[0] < n:\n    xs[0] += 1",
        "while node.next:\n    advance(node)",
        "while more():\n    i = 1",
        "while (i := i + 1) < n:\n    print(i)",
        "while i < n:\n    global n",
        "while i < n:\n    assert k",
        "try:\n    while True:\n        print(xs[i])\n        i = i + 1\nexcept IndexError:\n    pass",
        "while False:\n    pass",
        "while i < n:\n    del n",
        "while i > 0:\n    for i in xs:\n        print(i)",
    ],
)
def test_loops_that_may_end(body: str) -> None:
    indented = "".join(f"    {line}\n" for line in body.splitlines())
    tree = ast.parse(f"def f(i, k, xs, ys, node):\n{indented}")
    assert never_ends(tree) is None


# Recognition with tests and with a good answer

ODD = "def f(n):\n    while n != 1:\n        n = n - 2\n    return n\n"


def test_tests_tell_whether_a_loop_ends() -> None:
    assert recognised(ODD, tests=[F("f", 3, expected=1)]) == Finding(False, "every call ends")
    found = recognised(ODD, tests=[F("f", 3, expected=1), F("f", 4, expected=1)])
    assert isinstance(found, Finding) and found.present
    assert found.explanation == "f(4) does not end within the CPU limit"
    assert fenced(ODD)[found.start : found.end] == "while n != 1"


def test_the_run_decides_and_the_good_answer_says_where() -> None:
    bad = DIGITS.replace("        n //= 10\n", "")
    found = recognised(bad, DIGITS, [F("f", 123, expected=2)])
    assert isinstance(found, Finding) and found.present
    assert found.explanation == "f(123) does not end within the CPU limit: `n //= 10` of the good answer is missing"
    assert recognised(bad, DIGITS, [F("f", 3, expected=0)]) == Finding(False, "every call ends")


def test_what_cannot_be_told_is_unscored() -> None:
    assert isinstance(recognised(ODD), Unscored)
    assert isinstance(recognised(ODD, COUNT), Unscored)
    assert isinstance(recognised("x = 1 / 0\n" + ODD, tests=[F("f", 3, expected=1)]), Unscored)
    assert isinstance(LOOPS.recognise("prose"), Unscored)
    assert recognised("def f(n):\n    return n\n") == Finding(False, "there is no `while` loop")
    assert recognised(RENAMED, COUNT) == Finding(False, "every loop is the good answer's")
    assert recognised(COUNT.replace("i < n", "i <= n"), COUNT) == Finding(
        False, "every step and break of the good answer is there"
    )
