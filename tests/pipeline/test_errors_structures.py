"""Worse data structures: which containers can be one, that results stay and work grows, and what is found."""

from __future__ import annotations

import json

import pytest
from extra_rows import COUNTED, REACHABLE, UNIQUE, extra_rows

from pipeline import spans
from pipeline.errors.answers import code_of
from pipeline.errors.base import Case, Finding, Unscored, Verification
from pipeline.errors.data_structures import DataStructures
from pipeline.errors.growth import counted
from pipeline.records import FunctionTest
from pipeline.sandbox.run import execute

STRUCTURES = DataStructures()
F = FunctionTest.of


def fenced(code: str) -> str:
    return f"Sure 🎉\n\n```python\n{code}```\nDone.\n"


def broken(code: str) -> list[str]:
    answer = fenced(code)
    made = [spans.apply(edits, answer) for edits in STRUCTURES.propose(answer)]
    return [bad.removeprefix("Sure 🎉\n\n```python\n").removesuffix("```\nDone.\n") for bad in made]


def body(*lines: str) -> str:
    return "def f(xs):\n" + "".join(f"    {line}\n" for line in lines)


# Sites


@pytest.mark.parametrize(
    ("good", "bad"),
    [
        (
            body("s = set()", "for x in xs:", "    if x in s: return len(s)", "    s.add(x)", "return s"),
            body("s = []", "for x in xs:", "    if x in s: return len(set(s))", "    s.append(x)", "return set(s)"),
        ),
        (
            body("s = set( xs )", "return [x for x in xs if -x not in s]"),
            body("s = list( xs )", "return [x for x in xs if -x not in s]"),
        ),
        (
            body("s = {x * 2 for x in xs}", "return [x for x in xs if x in s]"),
            body("s = [x * 2 for x in xs]", "return [x for x in xs if x in s]"),
        ),
        (
            body("s = {1, 2}", "while xs[0] in s:", "    s.add(xs.pop(0))"),
            body("s = [1, 2]", "while xs[0] in s:", "    s.append(xs.pop(0))"),
        ),
        (
            "import collections\n" + body("q = collections.deque(xs)", "while q:", "    q.appendleft(q.popleft())"),
            body("q = list(xs)", "while q:", "    q.insert(0, q.pop(0))"),
        ),
        (
            "from collections import Counter, deque\n" + body("q = deque()", "while q:", "    q.append(q.popleft())"),
            "from collections import Counter\n" + body("q = []", "while q:", "    q.append(q.pop(0))"),
        ),
        (
            body("d = {0: -1}", "for x in xs:", "    if x + 1 in d:", "        return d[x + 1]", "    d[x] = x, 1"),
            "",
        ),
        (
            body("d = {0: -1}", "for x in xs:", "    if x + 1 in d:", "        return d[x + 1]", "    d[x] = 7"),
            body(
                "d = [(0, -1)]",
                "for x in xs:",
                "    if any(key == x + 1 for key, _ in d):",
                "        return next(value for key, value in reversed(d) if key == x + 1)",
                "    d.append((x, 7))",
            ),
        ),
        (
            body("d = dict()", "for i, x in xs:", "    if x not in d: d[i, x] = 0", "    d[x] += 2", "return d"),
            body(
                "d = []",
                "for i, x in xs:",
                "    if all(key != x for key, _ in d): d.append(((i, x), 0))",
                "    d.append((x, next(value for key, value in reversed(d) if key == x) + 2))",
                "return dict(d)",
            ),
        ),
        (
            body("d = {}", "for x in xs:", "    d[x] = d.get(x, 0) + 1", "return sorted(d), [k for k in d.items()]"),
            body(
                "d = []",
                "for x in xs:",
                "    d.append((x, next((value for key, value in reversed(d) if key == x), 0) + 1))",
                "return sorted(dict(d)), [k for k in dict(d).items()]",
            ),
        ),
    ],
)
def test_rewrites(good: str, bad: str) -> None:
    assert broken(good) == ([bad] if bad else [])
    if bad:
        found = STRUCTURES.recognise(fenced(bad.replace("xs", "größe")), reference=fenced(good))
        assert isinstance(found, Finding) and found.present and found.start is not None
        assert not STRUCTURES.recognise(fenced(good), reference=fenced(good)).present  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "lines",
    [
        ("s = set()", "s = set(xs)", "for x in xs:", "    s.add(x in s)"),  # bound twice
        ("s = set()", "for x in xs:", "    s.add(x in s)", "    s.discard(x)"),
        ("s = set()", "for x in xs:", "    s.add(x in s)", "    s |= {x}"),
        ("s = set()", "for x in xs:", "    s.add(x in s)", "    g(s)"),
        ("s = set()", "for x in xs:", "    s.add(x in s)", "t = s"),
        ("s = set()", "for x in xs:", "    s.add(f'{x in s}')"),
        ("s = set()", "for x in xs:", "    s.add(x)", "return s"),  # nothing is looked up
        ("s = {1, 2}", "return [x for x in xs if x in s]"),  # it never grows
        ("s = set()", "s.add(1 in s)"),  # no loop
        ("d = {}", "for x in xs:", "    d[x] = x in d", "    del d[x]"),
        ("d = {}", "for x in xs:", "    d[x] = x in d", "    d.update(xs)"),
        ("d = {}", "for key in xs:", "    d[key] = d.get(key)"),  # the name is taken
        ("d = {**xs}", "for x in xs:", "    d[x] = d.get(x)"),
        ("d = {}", "for x in xs:", "    d[x] = 1", "    d[x] *= d[x]"),
        ("q = deque(xs, 3)", "while q:", "    q.popleft()"),
        ("q = deque(xs)", "while q:", "    q.rotate(q.popleft())"),
        ("q = deque(xs)", "while q:", "    q.pop()"),
    ],
)
def test_what_cannot_be_rewritten(lines: tuple[str, ...]) -> None:
    assert broken(body(*lines)) == []


# Verification


@pytest.mark.parametrize("row", extra_rows(), ids=lambda row: row.id)
def test_results_stay_and_work_grows_faster(row: object) -> None:
    (edits,) = STRUCTURES.propose(row.response)  # type: ignore[attr-defined]
    bad = spans.apply(edits, row.response)  # type: ignore[attr-defined]
    assert code_of(bad) is not None and spans.apply(spans.inverse(edits, row.response), bad) == row.response  # type: ignore[attr-defined]
    seen = STRUCTURES.verify(Case("", row.response, bad, edits, row.tests), execute)  # type: ignore[attr-defined]
    assert (seen.confirmed, seen.level) == (True, "executed"), seen
    assert seen.reason.startswith("same results; from 24 to 96 elements work grows 13.")


def verified(good: str, bad: str, *tests: FunctionTest) -> Verification:
    return STRUCTURES.verify(Case("", fenced(good), fenced(bad), (), tests), execute)


def test_other_results_and_equal_growth_are_unconfirmed() -> None:
    (bad,) = broken(UNIQUE)
    test = F("unique", [1, 1, 2], expected=[1, 2])
    assert verified(UNIQUE, bad.replace("not in", "in"), test).reason == "differs on 1 of 1 tests"
    assert "-fold, no faster" in verified(UNIQUE, UNIQUE + "\n", test).reason
    assert verified(UNIQUE, bad, F("unique", [], expected=[])).reason == "no input could be made larger"
    assert verified(UNIQUE, bad).reason == "there are no tests to run"


def test_results_are_compared_on_the_larger_inputs_too() -> None:
    bad = UNIQUE.replace("    return result\n", "    return result[:20]\n")
    seen = verified(UNIQUE, bad, F("unique", [1, 1, 2], expected=[1, 2]))
    assert seen.reason == "the results differ on larger inputs"


def test_work_is_counted_line_by_line_and_element_by_element() -> None:
    code = body("n = 0", "for x in xs:", "    n += x in xs", "return n")
    quick = execute(counted(code), [F("kintsugi_work", "f", [[5, 6, 7]])])
    # `n = 0`, four times at the loop, three times in it, `return n`; and 1 + 2 + 3 comparisons
    assert json.loads(quick.outcomes[0].value or "") == [3, 1 + 4 + 3 + 1 + 6]
    popped = execute(counted(body("xs.pop(0)", "xs.pop()")), [F("kintsugi_work", "f", [[5, 6, 7]])])
    assert json.loads(popped.outcomes[0].value or "") == [None, 2 + 3]


# Recognition


def test_recognition_is_relative() -> None:
    (bad,) = broken(COUNTED)
    assert isinstance(STRUCTURES.recognise(fenced(bad)), Unscored)
    assert isinstance(STRUCTURES.recognise(fenced(UNIQUE), reference=fenced(REACHABLE)), Unscored)
    assert isinstance(STRUCTURES.recognise("prose", reference=fenced(UNIQUE)), Unscored)
    found = STRUCTURES.recognise(fenced(bad.replace("counts", "häufig")), reference=fenced(COUNTED))
    assert isinstance(found, Finding) and found.present
    assert fenced(bad.replace("counts", "häufig"))[found.start : found.end] == "[]"
    assert found.explanation == "`häufig = []` where the good answer has `counts = {}`"
